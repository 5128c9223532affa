// Debian splits Boost.JSON into a library we do not need elsewhere; its source, compiled once for the simulators.
#include <boost/json/src.hpp>

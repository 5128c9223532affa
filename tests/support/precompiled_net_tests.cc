// The translation unit that carries the tests' precompiled header.
#include "tests/support/precompiled_net_tests.h"

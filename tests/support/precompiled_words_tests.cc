// The translation unit that carries the tests' precompiled header.
#include "tests/support/precompiled_words_tests.h"

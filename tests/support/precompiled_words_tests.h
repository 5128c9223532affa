// What nearly every test includes besides core/precompiled_words.h.
#pragma once

#include "core/precompiled_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

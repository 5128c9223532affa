// What nearly every test includes besides core/precompiled_net.h.
#pragma once

#include "core/precompiled_net.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

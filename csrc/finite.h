// Check before a kernel starts that an array contains no NaN, no infinity and no numbers so large
// that their products would overflow.
#pragma once

#include <cstdint>

#include "dtype.h"

namespace fastbrain {

// True if every absolute value is below 2^power; false for NaN and infinity with any power.
bool all_below(const void* values, DType type, std::int64_t count, int power, int threads);

}  // namespace fastbrain

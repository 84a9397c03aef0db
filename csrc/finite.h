// Checks of values before a kernel starts.
#pragma once

#include <cstdint>

#include "dtype.h"

namespace fastbrain {

// No NaN, no infinity and no numbers so large that their products would overflow:
// true if every absolute value is below 2^power; false for NaN and infinity with any power.
bool all_below(const void* values, DType type, std::int64_t count, int power, int threads);

// True if every number is in [0, end).
bool all_within(const std::int64_t* values, std::int64_t count, std::int64_t end);

// True if every row has a norm within `tolerance` of 1; false for a NaN. For float32 or float64.
bool all_unit(const void* values, DType type, std::int64_t rows, std::int64_t width,
              double tolerance);

}  // namespace fastbrain

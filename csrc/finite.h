// Whether an array holds neither NaN nor infinity, nor numbers whose products would overflow: the
// check before a kernel may start.
#pragma once

#include <cstdint>

namespace fastbrain {

enum class FloatType { kFloat32, kFloat16, kBfloat16, kFloat64 };

// Every value has an absolute value below 2^power; false for NaN and infinity whatever the power.
bool all_below(const void* values, FloatType type, std::int64_t count, int power, int threads);

}  // namespace fastbrain

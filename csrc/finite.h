// Whether an array holds neither NaN nor infinity: the check before a kernel may start.
#pragma once

#include <cstdint>

namespace fastbrain {

enum class FloatType { kFloat32, kFloat16, kBfloat16, kFloat64 };

bool all_finite(const void* values, FloatType type, std::int64_t count, int threads);

}  // namespace fastbrain

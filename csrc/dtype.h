// Element types of the arrays that Python passes.
#pragma once

namespace fastbrain {

// Numbered as in fastbrain/ops/_tensors.py, which has no use for the last two.
enum class DType { kFloat32, kFloat16, kBfloat16, kFloat64, kInt16, kInt64, kBool };

}  // namespace fastbrain

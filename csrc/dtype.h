// Element types of the arrays that Python passes.
#pragma once

namespace fastbrain {

// Numbered as in fastbrain/ops/_tensors.py.
enum class DType { kFloat32, kFloat16, kBfloat16, kFloat64, kInt16 };

}  // namespace fastbrain

// Tensors of PyTorch as arguments of a binding. Asking each tensor in Python for its type, dtype,
// shape and address takes longer than the kernel of a small problem.
#pragma once

#include <Python.h>

#include <cstdint>
#include <initializer_list>

#include "dtype.h"

namespace fastbrain {

// A dense tensor on the CPU, in order, with memory that a kernel may read; it owns nothing.
struct PlainTensor {
  const void* data = nullptr;
  const std::int64_t* shape = nullptr;
  int dims = 0;
  DType type = DType::kFloat32;
  bool plain = false;   // false: some other value, and nothing else is set
  bool graded = false;  // autograd may need its gradient

  bool is(DType wanted, std::initializer_list<std::int64_t> sizes) const;
  std::int64_t numel() const;
  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(data); }
};

// Subclasses and tensors without memory of their own are not plain.
PlainTensor plain_tensor(PyObject* value);

}  // namespace fastbrain

// Shared by the binding files. Only they and module.cpp include Python headers.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "check.h"
#include "isa.h"

namespace fastbrain {

// Addresses cross from Python as integers; 0 is a null pointer.
template <typename T>
T* pointer(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

inline void check_threads(const char* function, int threads) {
  check(threads >= 1 && threads <= 4096, function, "threads must be in [1, 4096]", threads);
}

void bind_arguments(pybind11::module_& m);
void bind_decoder(pybind11::module_& m, Isa isa);
void bind_lora(pybind11::module_& m, Isa isa);
void bind_neighborhood(pybind11::module_& m, Isa isa);
void bind_neighborhood_cuda(pybind11::module_& m);
void bind_tensor(pybind11::module_& m);
void bind_voxel_tokenizer(pybind11::module_& m, Isa isa);
void bind_vq(pybind11::module_& m, Isa isa);

}  // namespace fastbrain

// Shared by the binding files. Only they and module.cpp include Python headers.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "check.h"
#include "isa.h"

// `name` of the namespace of an instruction set, for kernels that have no other than these three.
#ifdef FASTBRAIN_X86
#define FASTBRAIN_OF_ISA(isa, name)                \
  ((isa) >= fastbrain::Isa::kAvx512 ? avx512::name \
   : (isa) == fastbrain::Isa::kAvx2 ? avx2::name   \
                                    : baseline::name)
#else
#define FASTBRAIN_OF_ISA(isa, name) ((void)(isa), baseline::name)
#endif

namespace fastbrain {

// Addresses cross from Python as integers; 0 is a null pointer.
template <typename T>
T* pointer(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

inline void check_threads(const char* function, int threads) {
  check(threads >= 1 && threads <= 4096, function, "threads must be in [1, 4096]", threads);
}

// `count` numbers from an address on.
inline void check_array(const char* function, std::uintptr_t values, std::int64_t count) {
  check(count >= 0, function, "count must not be negative", count);
  check(values != 0 || count == 0, function, "values must not be null", 0);
}

void bind_arguments(pybind11::module_& m);
void bind_decoder(pybind11::module_& m, Isa isa);
void bind_lora(pybind11::module_& m, Isa isa);
void bind_neighborhood(pybind11::module_& m, Isa isa);
void bind_neighborhood_cuda(pybind11::module_& m);
void bind_neighborhood_tiles(pybind11::module_& m, Isa isa);
void bind_tensor(pybind11::module_& m);
void bind_voxel_tokenizer(pybind11::module_& m, Isa isa);
void bind_vq(pybind11::module_& m, Isa isa);

}  // namespace fastbrain

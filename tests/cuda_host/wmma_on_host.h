// Tensor-core tiles on the host, for tests.
#pragma once

#include <type_traits>

#include "fibers.h"

// Lane 0 multiplies the whole tile and stores it.
namespace nvcuda::wmma {
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major };
template <typename Use, int kM, int kN, int kK, typename T, typename Layout = void>
struct fragment {
  float x[16][16];
};
inline float widen(__half h) { return __half2float(h); }
inline float widen(__nv_bfloat16 b) { return __bfloat162float(b); }
template <typename T, typename Use>
void fill_fragment(fragment<Use, 16, 16, 16, float>& f, T value) {
  for (auto& row : f.x) {
    for (float& x : row) x = value;
  }
}
template <typename T, typename Use, typename Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& f, const T* from, unsigned step) {
  for (int i = 0; cuda_on_host::block->current % 32 == 0 && i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      f.x[i][j] =
          widen(std::is_same_v<Layout, row_major> ? from[i * step + j] : from[j * step + i]);
    }
  }
  __syncwarp();
}
template <typename A, typename B, typename C>
void mma_sync(C& to, const A& a, const B& b, const C& c) {
  if (cuda_on_host::block->current % 32 != 0) return;
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      float sum = c.x[i][j];
      for (int k = 0; k < 16; ++k) sum += a.x[i][k] * b.x[k][j];
      to.x[i][j] = sum;
    }
  }
}
template <typename Fragment>
void store_matrix_sync(float* to, const Fragment& f, unsigned step, layout_t) {
  if (cuda_on_host::block->current % 32 == 0) {
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 16; ++j) to[i * step + j] = f.x[i][j];
    }
  }
  __syncwarp();
}
}  // namespace nvcuda::wmma

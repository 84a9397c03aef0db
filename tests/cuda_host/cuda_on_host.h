// CUDA on the host, for tests: every thread of a block is a fiber, blocks run one after another.
//
// A fiber runs until it waits in __syncthreads or for its warp; then the next one runs, by turns
// upwards and downwards, so that a missing barrier reads what is not yet there. Dynamic shared
// memory is NaN when a block begins. Neither races within a warp nor speed can be seen here.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// blocks run one after another, so a static array is the block's own
#define __shared__ static
#define __align__(n) alignas(n)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};

struct __half {
  _Float16 value;
};
struct __nv_bfloat16 {
  std::uint16_t bits;
};
inline float __half2float(__half h) { return static_cast<float>(h.value); }
inline __half __float2half_rn(float f) { return {static_cast<_Float16>(f)}; }
inline float __bfloat162float(__nv_bfloat16 b) {
  const std::uint32_t bits = std::uint32_t{b.bits} << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
inline __nv_bfloat16 __float2bfloat16_rn(float f) {
  std::uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (f != f) return {static_cast<std::uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline unsigned __float_as_uint(float f) {
  unsigned bits;
  std::memcpy(&bits, &f, 4);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
template <typename T>
T __ldg(const T* p) {
  return *p;
}
template <typename T>
T atomicAdd(T* p, T value) {
  const T old = *p;
  *p += value;
  return old;
}
template <typename T>
T atomicMin(T* p, T value) {
  const T old = *p;
  if (value < old) *p = value;
  return old;
}
template <typename T>
T atomicMax(T* p, T value) {
  const T old = *p;
  if (value > old) *p = value;
  return old;
}
inline void __threadfence() {}
template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}

using cudaStream_t = void*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;
enum { cudaFuncAttributeMaxDynamicSharedMemorySize };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, int, int) {
  return cudaSuccess;
}

namespace cuda_on_host {

constexpr std::size_t kStack = 64 << 10;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  bool done = false;
  int warp_waits = 0, block_waits = 0;  // how many barriers it has reached
};

struct Block {
  ucontext_t scheduler;
  std::vector<Fiber> fibers;
  std::vector<unsigned long long> exchange;  // one word a thread, for shuffles
  std::vector<char> shared;
  std::function<void()> body;
  int current = 0;
};

inline Block* block = nullptr;

}  // namespace cuda_on_host

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_host {

inline void yield() {
  const int me = block->current;
  const dim3 thread = threadIdx;
  swapcontext(&block->fibers[me].context, &block->scheduler);
  block->current = me;
  threadIdx = thread;
}

// Waits until every thread of [first, last) that has not ended has been here as often.
inline void wait(int Fiber::* waits, int first, int last) {
  const int mine = ++(block->fibers[block->current].*waits);
  for (;;) {
    bool all = true;
    for (int i = first; i < last; ++i) {
      all = all && (block->fibers[i].done || block->fibers[i].*waits >= mine);
    }
    if (all) return;
    yield();
  }
}

inline void wait_for_warp() {
  const int first = block->current / 32 * 32, size = static_cast<int>(block->fibers.size());
  wait(&Fiber::warp_waits, first, first + 32 < size ? first + 32 : size);
}

inline void enter() {
  block->body();
  block->fibers[block->current].done = true;
  swapcontext(&block->fibers[block->current].context, &block->scheduler);
}

template <typename T>
T shuffle(T value, int from) {
  static_assert(sizeof(T) <= 8);
  const int first = block->current / 32 * 32;
  std::memcpy(&block->exchange[block->current], &value, sizeof(T));
  wait_for_warp();
  T got = value;
  if (first + from < static_cast<int>(block->fibers.size())) {
    std::memcpy(&got, &block->exchange[first + from], sizeof(T));
  }
  wait_for_warp();
  return got;
}

inline void run_block(Block& b) {
  bool up = true;
  for (int left = static_cast<int>(b.fibers.size()); left > 0; up = !up) {
    const int count = static_cast<int>(b.fibers.size());
    for (int turn = 0; turn < count; ++turn) {
      const int i = up ? turn : count - 1 - turn;
      if (b.fibers[i].done) continue;
      b.current = i;
      threadIdx = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y);
      swapcontext(&b.scheduler, &b.fibers[i].context);
      if (b.fibers[i].done) --left;
    }
  }
}

template <typename Kernel, typename... Arguments>
void launch(Kernel kernel, dim3 grid, dim3 threads, std::size_t shared_bytes, Arguments... given) {
  gridDim = grid;
  blockDim = threads;
  Block b;
  b.fibers = std::vector<Fiber>(threads.x * threads.y * threads.z);
  b.exchange.resize(b.fibers.size());
  b.body = [&] { kernel(given...); };
  block = &b;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        b.shared.assign(shared_bytes + 16, '\xff');
        blockIdx = dim3(x, y, z);
        for (Fiber& fiber : b.fibers) {
          getcontext(&fiber.context);
          fiber.context.uc_stack.ss_sp = fiber.stack.get();
          fiber.context.uc_stack.ss_size = kStack;
          fiber.done = false;
          fiber.warp_waits = fiber.block_waits = 0;
          fiber.context.uc_link = nullptr;
          makecontext(&fiber.context, enter, 0);
        }
        run_block(b);
      }
    }
  }
  block = nullptr;
}

inline void* shared() {
  const auto address = reinterpret_cast<std::uintptr_t>(block->shared.data());
  return reinterpret_cast<void*>((address + 15) / 16 * 16);
}

}  // namespace cuda_on_host

inline void __syncthreads() {
  using namespace cuda_on_host;
  wait(&Fiber::block_waits, 0, static_cast<int>(block->fibers.size()));
}
inline void __syncwarp(unsigned = 0xffffffffu) { cuda_on_host::wait_for_warp(); }
template <typename T>
T __shfl_xor_sync(unsigned, T value, int with) {
  return cuda_on_host::shuffle(value, (cuda_on_host::block->current % 32) ^ with);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned by) {
  const int lane = cuda_on_host::block->current % 32;
  return cuda_on_host::shuffle(value, lane + static_cast<int>(by) < 32 ? lane + by : lane);
}
template <typename T>
T __shfl_sync(unsigned, T value, int from) {
  return cuda_on_host::shuffle(value, from);
}

// Every lane holds the whole tile; lane 0 stores it.
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
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      f.x[i][j] =
          widen(std::is_same_v<Layout, row_major> ? from[i * step + j] : from[j * step + i]);
    }
  }
  __syncwarp();
}
template <typename A, typename B, typename C>
void mma_sync(C& to, const A& a, const B& b, const C& c) {
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

#define FASTBRAIN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ((void)(stream), cuda_on_host::launch(kernel, grid, block, shared_bytes, __VA_ARGS__))
#define FASTBRAIN_SHARED(type, name) type* name = static_cast<type*>(cuda_on_host::shared())

// Tiles of neighbourhood clustering on a GPU: the products of features with columns, and of weights
// with columns. Half precision is multiplied on tensor cores, everything else exactly in float32.
#pragma once

#include <type_traits>

#include "launch.cuh"

namespace fastbrain {

constexpr int kThreads = 256, kWarps = kThreads / 32, kSamples = 64;
// elements of the inner axis that a step of the scores reads, and columns of one of the gradient
constexpr int kInner = 64, kPulled = 32;

// Elements from one row of a tile in shared memory to the next: rows start in different banks.
template <typename E>
__host__ __device__ constexpr int padded(int elements) {
  return elements + 16 / static_cast<int>(sizeof(E));
}

template <typename E, int kWidth>
struct alignas(sizeof(E) * kWidth) Elements {
  E values[kWidth];
};

template <typename E>
__device__ __forceinline__ void read_four(const E* from, float (&to)[4]) {
  const auto four = *reinterpret_cast<const Elements<E, 4>*>(from);
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = to_float(four.values[i]);
}

// Copies elements [k, k + kColumns) of `rows` rows, zeros beyond the width; rows beyond the last
// repeat it. If aligned, the copies are asynchronous.
template <int kColumns, typename E>
__device__ __forceinline__ void stage(E* to, int rows, const E* from, std::int64_t step, int first,
                                      int count, int k, int width, bool aligned) {
  constexpr int kPack = 16 / sizeof(E), kPacks = kColumns / kPack, kStep = padded<E>(kColumns);
  if (aligned) {
    for (int e = threadIdx.x; e < rows * kPacks; e += kThreads) {
      const int r = e / kPacks, c = e % kPacks * kPack;
      const E* row = from + min(first + r, count - 1) * step;
      const bool valid = k + c < width;
      copy_16(to + r * kStep + c, valid ? row + k + c : from, valid);
    }
    return;
  }
  for (int e = threadIdx.x; e < rows * kColumns; e += kThreads) {
    const int r = e / kColumns, c = e % kColumns;
    const E* row = from + min(first + r, count - 1) * step;
    to[r * kStep + c] = k + c < width ? row[k + c] : from_float<E>(0.0f);
  }
}

// Half precision. Eight warps: four times 16 samples, and two halves of the columns.
template <typename T>
struct TensorCores {
  using Memory = T;
  using Feature = T;
  // columns of a tile of scores, steps in flight, planes of scores, elements of a gradient's tile
  static constexpr int kTile = 64, kStages = 4, kPlanes = 1, kDepth = 256;
  // columns of `pull`, in elements from one to the next sample; weights are the sum of two parts
  static constexpr int kPullStep = padded<T>(kPulled);
  static constexpr int kPullBytes = 2 * kSamples * kPullStep * sizeof(T);
  // keeps small weights above the smallest number of half precision
  static constexpr float kLift = 1024.0f;

  template <int kCount>
  using Sums = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>[kCount];

  struct Scores {
    Sums<2> sums;

    __device__ Scores() {
      for (auto& sum : sums) nvcuda::wmma::fill_fragment(sum, 0.0f);
    }

    template <typename E>
    __device__ void add(const T* features, const E* columns, int samples) {
      using namespace nvcuda::wmma;
      const int sample = threadIdx.x / 64 * 16, half = threadIdx.x / 32 % 2 * 32;
      constexpr int kStep = padded<T>(kInner);
      if (sample >= samples) return;
#pragma unroll
      for (int k = 0; k < kInner; k += 16) {
        fragment<matrix_a, 16, 16, 16, T, row_major> a;
        load_matrix_sync(a, features + sample * kStep + k, kStep);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          fragment<matrix_b, 16, 16, 16, T, col_major> b;
          load_matrix_sync(b, columns + (half + 16 * j) * kStep + k, kStep);
          mma_sync(sums[j], a, b, sums[j]);
        }
      }
    }

    __device__ void store(float* to, int samples) {
      const int sample = threadIdx.x / 64 * 16, half = threadIdx.x / 32 % 2 * 32;
      constexpr int kStep = padded<float>(kTile);
      if (sample >= samples) return;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        nvcuda::wmma::store_matrix_sync(to + sample * kStep + half + 16 * j, sums[j], kStep,
                                        nvcuda::wmma::mem_row_major);
      }
    }
  };

  // Weights of eight samples from `sample` on, for one column.
  static __device__ void write_pull(void* to, int sample, int column, const float (&pull)[8]) {
    T* high = static_cast<T*>(to);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const T part = from_float<T>(pull[i]);
      const int at = (sample + i) * kPullStep + column;
      high[at] = part;
      high[kSamples * kPullStep + at] = from_float<T>(pull[i] - to_float(part));
    }
  }

  // Two times 16 samples, 32 apart, times 64 elements for a warp.
  struct Grads {
    Sums<8> sums;

    __device__ Grads() {
      for (auto& sum : sums) nvcuda::wmma::fill_fragment(sum, 0.0f);
    }

    template <typename E>
    __device__ void add(const void* pull, const E* columns, int samples) {
      using namespace nvcuda::wmma;
      const int warp = threadIdx.x / 32, depth = warp % 4 * 64;
      constexpr int kStep = padded<T>(kDepth);
#pragma unroll
      for (int k = 0; k < kPulled; k += 16) {
        fragment<matrix_b, 16, 16, 16, T, row_major> b[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          load_matrix_sync(b[j], columns + k * kStep + depth + 16 * j, kStep);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int sample = (2 * i + warp / 4) * 16;
          if (sample >= samples) continue;
#pragma unroll
          for (int part = 0; part < 2; ++part) {
            fragment<matrix_a, 16, 16, 16, T, row_major> a;
            const T* from = static_cast<const T*>(pull) + (part * kSamples + sample) * kPullStep;
            load_matrix_sync(a, from + k, kPullStep);
#pragma unroll
            for (int j = 0; j < 4; ++j) mma_sync(sums[4 * i + j], a, b[j], sums[4 * i + j]);
          }
        }
      }
    }

    __device__ void store(float* to, int step, int samples) {
      const int warp = threadIdx.x / 32, depth = warp % 4 * 64;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int sample = (2 * i + warp / 4) * 16;
        if (sample >= samples) continue;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float* at = to + static_cast<std::int64_t>(sample) * step + depth + 16 * j;
          nvcuda::wmma::store_matrix_sync(at, sums[4 * i + j], step, nvcuda::wmma::mem_row_major);
        }
      }
    }
  };
};

// Float32 features and a memory of any type. Every step is summed on its own: rounding then grows
// with its length, not with the width.
template <typename T>
struct Exact {
  using Memory = T;
  using Feature = float;
  static constexpr int kTile = 32, kStages = 3, kPlanes = 2, kDepth = 128;
  static constexpr int kPullStep = padded<float>(kSamples);
  static constexpr int kPullBytes = kPulled * kPullStep * sizeof(float);
  static constexpr float kLift = 1.0f;

  // Four samples, 16 apart, times four columns, 8 apart, of one half of the inner axis.
  struct Scores {
    float sums[4][4] = {};

    template <typename E>
    __device__ void add(const float* features, const E* columns, int) {
      constexpr int kStep = padded<float>(kInner), kColumnStep = padded<E>(kInner);
      const int sample = threadIdx.x % 16, column = threadIdx.x / 16 % 8;
      const int half = threadIdx.x / 128 * (kInner / 2);
      float part[4][4] = {};
#pragma unroll 2
      for (int k = half; k < half + kInner / 2; k += 4) {
        float left[4][4], right[4][4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          read_four(features + (sample + 16 * i) * kStep + k, left[i]);
          read_four(columns + (column + 8 * i) * kColumnStep + k, right[i]);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int e = 0; e < 4; ++e) part[i][j] += left[i][e] * right[j][e];
          }
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] += part[i][j];
      }
    }

    __device__ void store(float* to, int) {
      constexpr int kStep = padded<float>(kTile);
      const int sample = threadIdx.x % 16, column = threadIdx.x / 16 % 8;
      to += threadIdx.x / 128 * kSamples * kStep;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) to[(sample + 16 * i) * kStep + column + 8 * j] = sums[i][j];
      }
    }
  };

  static __device__ void write_pull(void* to, int sample, int column, const float (&pull)[8]) {
    float* at = static_cast<float*>(to) + column * kPullStep + sample;
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
      *reinterpret_cast<float4*>(at + i) = {pull[i], pull[i + 1], pull[i + 2], pull[i + 3]};
    }
  }

  // Four samples times two times four elements.
  struct Grads {
    float sums[4][8] = {};

    template <typename E>
    __device__ void add(const void* pull, const E* columns, int) {
      const int sample = threadIdx.x / 16 * 4, depth = threadIdx.x % 16 * 4;
      float part[4][8] = {};
#pragma unroll 4
      for (int k = 0; k < kPulled; ++k) {
        float left[4], right[2][4];
        read_four(static_cast<const float*>(pull) + k * kPullStep + sample, left);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          read_four(columns + k * padded<E>(kDepth) + depth + 64 * j, right[j]);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int j = 0; j < 8; ++j) part[i][j] += left[i] * right[j / 4][j % 4];
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] += part[i][j];
      }
    }

    __device__ void store(float* to, int step, int samples) {
      const int sample = threadIdx.x / 16 * 4, depth = threadIdx.x % 16 * 4;
      if (sample >= samples) return;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float* at = to + static_cast<std::int64_t>(sample + i) * step + depth;
#pragma unroll
        for (int j = 0; j < 8; ++j) at[j / 4 * 64 + j % 4] = sums[i][j];
      }
    }
  };
};

}  // namespace fastbrain

// Voxel tokenizer on a GPU for one volume or a few, where latency decides: small tiles so that all
// multiprocessors have one, and the next stretch of the inner axis is read while this one is
// multiplied. The gradient of the weight reads the raw values again, in one launch too.
// kernels/voxel_tokenizer.py has the kernels for throughput.
#include <type_traits>

#include "launch.cuh"
#include "voxel_tokenizer.h"

namespace fastbrain {
namespace {

constexpr int kThreads = 256, kTokens = 32, kFeatures = 64, kInner = 64;
// rows of a tile start in different banks; every 16th is aligned to 32 bytes for tensor cores
constexpr int kPad = 8, kStep = kInner + kPad;
// a thread reads one column of the tiles, every kRows-th row of it
constexpr int kRows = kThreads / kInner, kLeft = kTokens / kRows, kRight = kFeatures / kRows;

// One normalised voxel, element `inside_patch` of a frame; 0 outside the mask.
template <typename V>
__device__ __forceinline__ float voxel(const VoxelRead& p, int sample, int frame,
                                       int inside_patch) {
  const int window = sample / p.tokens, token = sample % p.tokens;
  const int inside = token * p.patch + inside_patch;
  const int offset = p.offsets[inside];
  if (offset < 0) return 0.0f;
  const std::int64_t volume = static_cast<std::int64_t>(window) * p.frames + frame;
  const V stored =
      static_cast<const V*>(p.volumes)[volume * p.voxels + (p.packed ? inside : offset)];
  float value = to_float(stored) * p.scale;
  if (p.mean != nullptr) value -= p.mean[p.mean_packed ? inside : offset];
  if (p.inv_std != nullptr) value *= p.inv_std[p.inv_std_packed ? inside : offset];
  return value;
}

// A product of tiles on tensor cores: eight warps, each 16 rows times 16 columns of the result. The
// inner axis is that of tokens in the gradient (kAcross), and then the slow one of both tiles.
template <typename W, bool kAcross>
struct TensorCores {
  using Sum = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;
  Sum sum;

  __device__ TensorCores() { nvcuda::wmma::fill_fragment(sum, 0.0f); }

  __device__ void add(const W* left, const W* right) {
    using namespace nvcuda::wmma;
    const int warp = threadIdx.x / 32, row = warp / 4 * 16, column = warp % 4 * 16;
    for (int k = 0; k < kInner; k += 16) {
      fragment<matrix_a, 16, 16, 16, W, std::conditional_t<kAcross, col_major, row_major>> a;
      fragment<matrix_b, 16, 16, 16, W, std::conditional_t<kAcross, row_major, col_major>> b;
      load_matrix_sync(a, left + (kAcross ? k * kStep + row : row * kStep + k), kStep);
      load_matrix_sync(b, right + (kAcross ? k * kStep + column : column * kStep + k), kStep);
      mma_sync(sum, a, b, sum);
    }
  }

  __device__ void store(float* to) {
    const int warp = threadIdx.x / 32, row = warp / 4 * 16, column = warp % 4 * 16;
    nvcuda::wmma::store_matrix_sync(to + row * kFeatures + column, sum, kFeatures,
                                    nvcuda::wmma::mem_row_major);
  }
};

// The same in float32, which tensor cores would round: each thread 2 rows times 4 columns.
template <bool kAcross>
struct Exact {
  float sums[2][4] = {};

  // each stretch is summed on its own: rounding then grows with its length, not with the patch
  __device__ void add(const float* left, const float* right) {
    const int row = threadIdx.x / 16 * 2, column = threadIdx.x % 16;
    float part[2][4] = {};
    for (int k = 0; k < kInner; ++k) {
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 4; ++j) {
          const int r = row + i, c = column + 16 * j;
          part[i][j] += left[kAcross ? k * kStep + r : r * kStep + k] *
                        right[kAcross ? k * kStep + c : c * kStep + k];
        }
      }
    }
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 4; ++j) sums[i][j] += part[i][j];
    }
  }

  __device__ void store(float* to) {
    const int row = threadIdx.x / 16 * 2, column = threadIdx.x % 16;
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 4; ++j) to[(row + i) * kFeatures + column + 16 * j] = sums[i][j];
    }
  }
};

template <typename W, bool kAcross>
using Product =
    std::conditional_t<std::is_same_v<W, float>, Exact<kAcross>, TensorCores<W, kAcross>>;

template <typename V, typename W>
__global__ void __launch_bounds__(kThreads, 2) tokenize(VoxelForward p) {
  const VoxelRead& from = p.read;
  alignas(32) __shared__ W left[kTokens * kStep], right[kFeatures * kStep];
  alignas(32) __shared__ float tile[kTokens * kFeatures];
  const int sample = blockIdx.x * kTokens, feature = blockIdx.y * kFeatures;
  const int depth = from.frames * from.patch;
  W next_left[kLeft], next_right[kRight];

  // neighbouring threads read neighbouring elements of a row
  const int row = threadIdx.x / kInner, column = threadIdx.x % kInner;
  const auto read = [&](int first) {
    const int k = first + column, frame = k / from.patch, inside_patch = k % from.patch;
#pragma unroll
    for (int i = 0; i < kLeft; ++i) {
      const int s = sample + i * kRows + row;
      const bool valid = s < from.batch * from.tokens && k < depth;
      next_left[i] = from_float<W>(valid ? voxel<V>(from, s, frame, inside_patch) : 0.0f);
    }
#pragma unroll
    for (int i = 0; i < kRight; ++i) {
      const int f = feature + i * kRows + row;
      const W* weight = static_cast<const W*>(p.weight) + static_cast<std::int64_t>(f) * depth + k;
      next_right[i] = f < from.features && k < depth ? *weight : from_float<W>(0.0f);
    }
  };

  Product<W, false> product;
  read(0);
  for (int first = 0; first < depth; first += kInner) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kLeft; ++i) left[(i * kRows + row) * kStep + column] = next_left[i];
#pragma unroll
    for (int i = 0; i < kRight; ++i) right[(i * kRows + row) * kStep + column] = next_right[i];
    __syncthreads();
    if (first + kInner < depth) read(first + kInner);
    product.add(left, right);
  }
  product.store(tile);
  __syncthreads();
  for (int e = threadIdx.x; e < kTokens * kFeatures; e += kThreads) {
    const int s = sample + e / kFeatures, f = feature + e % kFeatures;
    if (s >= from.batch * from.tokens || f >= from.features) continue;
    float value = tile[e];
    if (p.bias != nullptr) value += to_float(static_cast<const W*>(p.bias)[f]);
    static_cast<W*>(p.out)[static_cast<std::int64_t>(s) * from.features + f] = from_float<W>(value);
  }
}

// Gradient of the weight: a block holds kTokens features times kFeatures elements of the inner axis
// and adds up all tokens in their order, so that the sum is the same in every call.
template <typename V, typename W>
__global__ void __launch_bounds__(kThreads, 2) weight_grad(VoxelBackward p) {
  const VoxelRead& from = p.read;
  alignas(32) __shared__ W left[kInner * kStep], right[kInner * kStep];
  alignas(32) __shared__ float tile[kTokens * kFeatures];
  const int first = blockIdx.x * kFeatures, feature = blockIdx.y * kTokens;
  const int depth = from.frames * from.patch, samples = from.batch * from.tokens;
  constexpr int kGrads = kInner * kTokens / kThreads, kVoxels = kInner * kFeatures / kThreads;
  W next_left[kGrads], next_right[kVoxels];

  // neighbouring threads read neighbouring features, and neighbouring voxels
  const int f = feature + threadIdx.x % kTokens, grad_row = threadIdx.x / kTokens;
  const int k = first + threadIdx.x % kFeatures, row = threadIdx.x / kFeatures;
  const auto read = [&](int sample) {
#pragma unroll
    for (int i = 0; i < kGrads; ++i) {
      const int s = sample + i * (kThreads / kTokens) + grad_row;
      const W* grad = static_cast<const W*>(p.grad) + static_cast<std::int64_t>(s) * from.features;
      next_left[i] = s < samples && f < from.features ? grad[f] : from_float<W>(0.0f);
    }
#pragma unroll
    for (int i = 0; i < kVoxels; ++i) {
      const int s = sample + i * (kThreads / kFeatures) + row;
      const bool valid = s < samples && k < depth;
      next_right[i] =
          from_float<W>(valid ? voxel<V>(from, s, k / from.patch, k % from.patch) : 0.0f);
    }
  };

  Product<W, true> product;
  read(0);
  for (int sample = 0; sample < samples; sample += kInner) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kGrads; ++i) {
      left[(i * (kThreads / kTokens) + grad_row) * kStep + threadIdx.x % kTokens] = next_left[i];
    }
#pragma unroll
    for (int i = 0; i < kVoxels; ++i) {
      right[(i * (kThreads / kFeatures) + row) * kStep + threadIdx.x % kFeatures] = next_right[i];
    }
    __syncthreads();
    if (sample + kInner < samples) read(sample + kInner);
    product.add(left, right);
  }
  product.store(tile);
  __syncthreads();
  for (int e = threadIdx.x; e < kTokens * kFeatures; e += kThreads) {
    const int g = feature + e / kFeatures, inner = first + e % kFeatures;
    if (g < from.features && inner < depth) {
      p.grad_weight[static_cast<std::int64_t>(g) * depth + inner] = tile[e];
    }
  }
}

constexpr unsigned tiles(int count, int size) { return (count + size - 1) / size; }

template <typename V, typename W>
void start(const VoxelForward& p, cudaStream_t stream) {
  const dim3 grid(tiles(p.read.batch * p.read.tokens, kTokens), tiles(p.read.features, kFeatures));
  FASTBRAIN_LAUNCH((tokenize<V, W>), grid, dim3(kThreads), 0, stream, p);
}

template <typename V, typename W>
void start(const VoxelBackward& p, cudaStream_t stream) {
  const dim3 grid(tiles(p.read.frames * p.read.patch, kFeatures), tiles(p.read.features, kTokens));
  FASTBRAIN_LAUNCH((weight_grad<V, W>), grid, dim3(kThreads), 0, stream, p);
}

template <typename V, typename Work>
void choose_weight(const Work& work, DType weight, cudaStream_t stream) {
  switch (weight) {
    case DType::kFloat16:
      start<V, __half>(work, stream);
      break;
    case DType::kBfloat16:
      start<V, __nv_bfloat16>(work, stream);
      break;
    default:
      start<V, float>(work, stream);
  }
  check_launch("voxel_tokenizer");
}

template <typename Work>
void choose(const Work& work, int volume_type, int weight_type, void* stream) {
  const DType weight = static_cast<DType>(weight_type);
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  switch (static_cast<DType>(volume_type)) {
    case DType::kInt16:
      return choose_weight<std::int16_t>(work, weight, queue);
    case DType::kFloat16:
      return choose_weight<__half>(work, weight, queue);
    case DType::kBfloat16:
      return choose_weight<__nv_bfloat16>(work, weight, queue);
    default:
      return choose_weight<float>(work, weight, queue);
  }
}

}  // namespace

void voxel_tokenizer_cuda(const VoxelForward& work, int volume_type, int weight_type,
                          void* stream) {
  if (work.read.batch > 0 && work.read.features > 0) choose(work, volume_type, weight_type, stream);
}

void voxel_tokenizer_cuda_grad(const VoxelBackward& work, int volume_type, int grad_type,
                               void* stream) {
  if (work.read.features > 0) choose(work, volume_type, grad_type, stream);
}

}  // namespace fastbrain

// Voxel tokenizer on the CPU: gather, scale, normalise and multiply in one pass over raw values.
#pragma once

#include <cstdint>

#include "isa.h"

namespace fastbrain {

// Source of the values of a patch. A *row* is one run of `width` voxels along x; a patch has
// `rows` of them. Voxels with a cleared bit are never read and count as zero.
struct VoxelSource {
  const void* volumes;  // (batch, frames, voxels) or, if packed, (batch, frames, tokens, patch)
  bool is_int16;        // otherwise float32
  bool packed;
  const float* mean;  // nullptr: 0
  bool mean_packed;
  const float* inv_std;  // nullptr: 1
  bool inv_std_packed;
  const std::int32_t* bases;  // (tokens, rows) flat voxel index of the row's first voxel
  // (tokens, rows) bit j: voxel j of the row is brain; uint8 up to kNarrowRow voxels, else uint64
  const void* bits;
  // `voxels` of a volume that is not packed: of `volumes`, or else of the statistics
  std::int64_t batch, frames, voxels, tokens, rows, width;
  float scale;
};

constexpr std::int64_t kNarrowRow = 8;
// Widest row that a block of the inner axis holds; the bits of a row are one 64-bit word.
constexpr std::int64_t kWidestRow = 64;

struct VoxelTokenizer {
  // out (batch, tokens, features) = patches · weightᵀ + bias; false if memory ran out.
  bool (*forward)(const VoxelSource& source, const float* weight, const float* bias,
                  std::int64_t features, float* out, int threads);
  // gradient of weight (features, frames · patch) = gradᵀ · patches; false if memory ran out.
  bool (*backward)(const VoxelSource& source, const float* grad, std::int64_t features,
                   float* grad_weight, int threads);
};

const VoxelTokenizer& voxel_tokenizer(Isa isa);

using Bfloat16 = std::uint16_t;  // its bits

// The same for weights in bfloat16; patches are normalised in float32 and then rounded.
struct VoxelTokenizerBfloat16 {
  // bias in float32; out rounded once, from sums in float32
  bool (*forward)(const VoxelSource& source, const Bfloat16* weight, const float* bias,
                  std::int64_t features, Bfloat16* out, int threads);
  bool (*backward)(const VoxelSource& source, const Bfloat16* grad, std::int64_t features,
                   float* grad_weight, int threads);
  // out (count, frames · patch): patches of samples window · tokens + token from `first` on
  void (*patches)(const VoxelSource& source, std::int64_t first, std::int64_t count, Bfloat16* out,
                  int threads);
};

// nullptr where the machine has no products of bfloat16.
const VoxelTokenizerBfloat16* voxel_tokenizer_bfloat16(Isa isa);

// The same on CPUs that multiply tiles of bfloat16 (AMX).
struct VoxelTokenizerTiles {
  bool (*forward)(const VoxelSource& source, const Bfloat16* weight, const float* bias,
                  std::int64_t features, Bfloat16* out, int threads);
  bool (*backward)(const VoxelSource& source, const Bfloat16* grad, std::int64_t features,
                   float* grad_weight, int threads);
};

// nullptr where the machine has no tiles of bfloat16.
const VoxelTokenizerTiles* voxel_tokenizer_tiles(Isa isa);

// What a launch on a GPU reads, for the few tokens of a session; addresses are the device's.
struct VoxelRead {
  const void* volumes;  // (batch, frames, voxels) or, if packed, (batch, frames, tokens, patch)
  const std::int32_t* offsets;  // (tokens, patch) flat voxel index, -1 outside
  const float* mean;            // nullptr: 0
  const float* inv_std;         // nullptr: 1
  bool packed, mean_packed, inv_std_packed;
  std::int64_t voxels;  // of one stored volume
  int batch, frames, tokens, patch, features;
  float scale;
};

struct VoxelForward {
  VoxelRead read;
  const void* weight;  // (features, frames, patch)
  const void* bias;    // (features) of the weight's type, or nullptr
  void* out;           // (batch, tokens, features) of the weight's type
};

struct VoxelBackward {
  VoxelRead read;
  const void* grad;    // (batch, tokens, features)
  float* grad_weight;  // (features, frames, patch)
};

// The types are DTypes; throw std::runtime_error if the driver refuses.
void voxel_tokenizer_cuda(const VoxelForward& work, int volume_type, int weight_type, void* stream);
void voxel_tokenizer_cuda_grad(const VoxelBackward& work, int volume_type, int grad_type,
                               void* stream);

namespace baseline {
extern const VoxelTokenizer voxel_tokenizer;
}
namespace avx2 {
extern const VoxelTokenizer voxel_tokenizer;
}
namespace avx512 {
extern const VoxelTokenizer voxel_tokenizer;
}
namespace avx512bf16 {
extern const VoxelTokenizerBfloat16 voxel_tokenizer_bfloat16;
}
namespace avx512amx {
extern const VoxelTokenizerTiles voxel_tokenizer_tiles;
}

}  // namespace fastbrain

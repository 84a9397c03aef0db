// Where neighbourhood clustering on a GPU keeps its scores, sums and tiles.
#pragma once

#include "neighborhood_cuda.h"
#include "neighborhood_tiles.cuh"

namespace fastbrain {

constexpr float kNone = -1e30f;
static_assert(kSamples == kMostClusteringSamples);

__host__ __device__ constexpr int tiles(int count, int size) { return (count + size - 1) / size; }

// Where the columns of the scores come from, each part filled up to whole tiles.
struct Layout {
  int prototypes, features, pitch;  // first columns, and how many there are
  int samples, depth_tiles, splits;
  std::int64_t sums, logits, end;  // parts of the scratch memory; products are at its beginning

  __host__ __device__ Layout(const ClusteringLaunch& p, int tile, int depth) {
    prototypes = tiles(p.size, tile) * tile;
    features = prototypes + tiles(p.classes, tile) * tile;
    pitch = features + (p.eps > 0 ? tiles(p.batch, tile) * tile : 0);
    samples = tiles(p.batch, 16) * 16;
    depth_tiles = tiles(p.width, depth);
    splits = p.grads == nullptr ? 0 : p.blocks / depth_tiles;
    if (p.grads != nullptr && splits < 1) splits = 1;
    if (splits > pitch / kPulled) splits = pitch / kPulled;
    sums = static_cast<std::int64_t>(splits) * samples * depth_tiles * depth;
    logits = sums + 2 * 3 * kSamples * p.blocks;
    end = logits + static_cast<std::int64_t>(p.batch) * pitch;
  }
};

struct Shared {
  float highest[kSamples], inverse[kSamples], mean[kSamples], entropy[kSamples];
  float bias[kSamples];
  int own[kSamples];
};

// The rest of the shared memory: steps of the scores with the scores themselves, or those of the
// gradients with weights for this step and the next.
template <typename Math>
struct Room {
  using Memory = typename Math::Memory;
  using Feature = typename Math::Feature;
  static constexpr int kFeatureBytes = kSamples * padded<Feature>(kInner) * sizeof(Feature);
  static constexpr int kStep =
      kFeatureBytes + Math::kTile * padded<Feature>(kInner) * static_cast<int>(sizeof(Feature));
  static constexpr int kScores = Math::kStages * kStep;
  static constexpr int kPullStep =
      kPulled * padded<Feature>(Math::kDepth) * static_cast<int>(sizeof(Feature));
  static constexpr int kPull = 3 * kPullStep;
  static constexpr int kFirst = kScores + Math::kPlanes * kSamples * padded<float>(Math::kTile) * 4;
  static constexpr int kSecond = kPull + 2 * Math::kPullBytes;
  static constexpr int kBytes = sizeof(Shared) + (kFirst > kSecond ? kFirst : kSecond);
  static_assert(sizeof(Shared) % 32 == 0 && kStep % 32 == 0 && kPullStep % 32 == 0);
  static_assert(kBytes <= 101376, "sm_86, sm_89 and sm_120 have no more");
};

// Copies elements [k, k + kColumns) of columns [column, column + count) of the scores.
template <typename Math, int kColumns>
__device__ __forceinline__ void stage_columns(const ClusteringLaunch& p, const Layout& l, void* to,
                                              int count, int column, int k, bool aligned) {
  using Feature = typename Math::Feature;
  using Memory = typename Math::Memory;
  if (column < l.prototypes) {
    stage<kColumns>(static_cast<Memory*>(to), count, static_cast<const Memory*>(p.memory), p.step,
                    column, p.size, k, p.width, aligned);
  } else {
    const bool is_class = column < l.features;
    const void* from = is_class ? p.prototypes : p.features;
    stage<kColumns>(static_cast<Feature*>(to), count, static_cast<const Feature*>(from), p.width,
                    column - (is_class ? l.prototypes : l.features), is_class ? p.classes : p.batch,
                    k, p.width, aligned);
  }
}

}  // namespace fastbrain

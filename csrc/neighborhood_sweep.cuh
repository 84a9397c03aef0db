// Scores of neighbourhood clustering on a GPU, and the statistics of each sample.
#pragma once

#include "neighborhood_layout.cuh"

namespace fastbrain {

// -ln(p + eps), and -ln(p + eps) - p / (p + eps).
__device__ __forceinline__ void smooth(float p, float eps, float& value, float& slope) {
  value = -logf(p + eps);
  slope = value - p / (p + eps);
}

// The highest logit of a sample so far, and sums relative to it.
struct Running {
  float highest = kNone, first = 0.0f, second = 0.0f;

  __device__ __forceinline__ void add(float highest_too, float first_too, float second_too) {
    const float higher = fmaxf(highest, highest_too);
    const float moved = highest - higher, moved_too = highest_too - higher;
    const float shrink = expf(moved), shrink_too = expf(moved_too);
    second = shrink * (second + moved * first) + shrink_too * (second_too + moved_too * first_too);
    first = shrink * first + shrink_too * first_too;
    highest = higher;
  }
  // a NaN reaches the sums: the maximum ignores it, the exponential does not
  __device__ __forceinline__ void add(float logit) {
    const float higher = fmaxf(highest, logit);
    const float moved = highest - higher, shrink = expf(moved), weight = expf(logit - higher);
    // 0 · -inf would be NaN where a column is masked
    const float slope = logit == -INFINITY ? 0.0f : logit - higher;
    second = shrink * (second + moved * first) + weight * slope;
    first = shrink * first + weight;
    highest = higher;
  }
  __device__ __forceinline__ void add_lanes(int lanes) {
    for (int step = 1; step < lanes; step *= 2) {
      add(__shfl_xor_sync(0xffffffffu, highest, step), __shfl_xor_sync(0xffffffffu, first, step),
          __shfl_xor_sync(0xffffffffu, second, step));
    }
  }
};

// Computes the logits of every gridDim.x-th tile, and the sums of this block.
template <typename Math>
__device__ void sweep(const ClusteringLaunch& p, const Layout& l, Shared& shared,
                      unsigned char* room, bool aligned) {
  using Feature = typename Math::Feature;
  using Memory = typename Math::Memory;
  using Place = Room<Math>;
  constexpr int kTile = Math::kTile, kStages = Math::kStages, kParts = kThreads / kTile;
  constexpr int kScoreStep = padded<float>(kTile), kEach = kInner / kParts;
  const int steps = tiles(p.width, kInner), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int own_tiles = tiles(l.pitch / kTile - static_cast<int>(blockIdx.x), gridDim.x);
  const int end = own_tiles * steps;
  float* scores = reinterpret_cast<float*>(room + Place::kScores);
  const auto column_of = [&](int step) {
    return (static_cast<int>(blockIdx.x) + step / steps * static_cast<int>(gridDim.x)) * kTile;
  };
  const auto load = [&](int step) {
    if (step < end) {
      unsigned char* to = room + step % kStages * Place::kStep;
      const int k = step % steps * kInner;
      stage<kInner>(reinterpret_cast<Feature*>(to), l.samples,
                    static_cast<const Feature*>(p.features), p.width, 0, p.batch, k, p.width,
                    aligned);
      stage_columns<Math, kInner>(p, l, to + Place::kFeatureBytes, kTile, column_of(step), k,
                                  aligned);
    }
    close_copies();
  };

  Running sums[8];
  for (int step = 0; step < kStages - 1; ++step) load(step);
  for (int tile = 0; tile < own_tiles; ++tile) {
    const int first = column_of(tile * steps);
    const bool in_memory = first < l.prototypes;
    typename Math::Scores product;
    float squares = 0.0f;
    for (int step = tile * steps; step < (tile + 1) * steps; ++step) {
      wait_for_copies<kStages - 2>();
      __syncthreads();
      load(step + kStages - 1);
      const unsigned char* at = room + step % kStages * Place::kStep;
      const Feature* features = reinterpret_cast<const Feature*>(at);
      if (!in_memory) {
        const auto* columns = reinterpret_cast<const Feature*>(at + Place::kFeatureBytes);
        product.add(features, columns, l.samples);
        continue;
      }
      const auto* columns = reinterpret_cast<const Memory*>(at + Place::kFeatureBytes);
      product.add(features, columns, l.samples);
      const Memory* part = columns + threadIdx.x / kParts * padded<Memory>(kInner);
      float sum = 0.0f;
#pragma unroll
      for (int i = 0; i < kEach; i += 4) {
        float four[4];
        read_four(part + threadIdx.x % kParts * kEach + i, four);
#pragma unroll
        for (int j = 0; j < 4; ++j) sum += four[j] * four[j];
      }
      squares += sum;
    }
    product.store(scores, l.samples);
    for (int with = 1; with < kParts; with *= 2) {
      squares += __shfl_xor_sync(0xffffffffu, squares, with);
    }
    if (threadIdx.x % kParts == 0) {
      // 0 for a column that counts, -inf for a masked one, NaN for a norm other than 0 or 1
      const int place = threadIdx.x / kParts, column = first + place;
      float bias = 0.0f;
      if (in_memory) {
        bool masked = squares == 0.0f || column >= p.size;
        if (p.eps > 0) {
          for (int i = 0; i < p.batch; ++i) masked = masked || shared.own[i] == column;
        }
        if (!(fabsf(sqrtf(squares) - 1.0f) <= p.tolerance)) bias = NAN;
        if (masked) bias = -INFINITY;
      } else if (column >= (first < l.features ? l.prototypes + p.classes : l.features + p.batch)) {
        bias = -INFINITY;
      }
      shared.bias[place] = bias;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int sample = warp * 8 + i;
      if (sample >= p.batch) continue;
#pragma unroll
      for (int place = 0; place < kTile; place += 32) {
        const int column = first + place + lane;
        float score = scores[sample * kScoreStep + place + lane];
        if (Math::kPlanes == 2) score += scores[(kSamples + sample) * kScoreStep + place + lane];
        float logit = score * p.inv_temperature + shared.bias[place + lane];
        const bool is_own =
            p.eps > 0 ? column == l.features + sample : column == shared.own[sample];
        if (is_own || shared.bias[place + lane] == -INFINITY) logit = -INFINITY;
        p.scratch[l.logits + static_cast<std::int64_t>(sample) * l.pitch + column] = logit;
        sums[i].add(logit);
      }
    }
  }
  float* to = p.scratch + l.sums + static_cast<std::int64_t>(blockIdx.x) * 3 * kSamples;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    sums[i].add_lanes(32);
    if (lane == 0) {
      to[warp * 8 + i] = sums[i].highest;
      to[kSamples + warp * 8 + i] = sums[i].first;
      to[2 * kSamples + warp * 8 + i] = sums[i].second;
    }
  }
}

// Sums of the smoothed entropy over the tiles that this block has swept.
template <typename Math>
__device__ void sweep_again(const ClusteringLaunch& p, const Layout& l, const Shared& shared) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float* to = p.scratch + l.sums + static_cast<std::int64_t>(gridDim.x + blockIdx.x) * 3 * kSamples;
  for (int sample = warp * 8; sample < min(warp * 8 + 8, p.batch); ++sample) {
    const float* logits = p.scratch + l.logits + static_cast<std::int64_t>(sample) * l.pitch;
    float first = 0.0f, second = 0.0f;
    for (int tile = blockIdx.x; tile < l.pitch / Math::kTile; tile += gridDim.x) {
      for (int column = tile * Math::kTile + lane; column < (tile + 1) * Math::kTile;
           column += 32) {
        const float weight = expf(logits[column] - shared.highest[sample]);
        float value, slope;
        smooth(weight * shared.inverse[sample], p.eps, value, slope);
        first += weight * value;
        second += weight * slope;
      }
    }
    first = warp_sum(first);
    second = warp_sum(second);
    if (lane == 0) {
      to[kSamples + sample] = first;
      to[2 * kSamples + sample] = second;
    }
  }
}

// Adds the sums of all blocks; every block repeats this. With kKnown they are relative to the
// highest logit already, and smoothed.
template <bool kKnown>
__device__ void merge(const ClusteringLaunch& p, const Layout& l, Shared& shared) {
  const int sample = threadIdx.x / 4;
  const float* sums = p.scratch + l.sums + (kKnown ? gridDim.x * 3 * kSamples : 0) + sample;
  Running total;
  for (int block = threadIdx.x % 4; sample < p.batch && block < gridDim.x; block += 4) {
    const float* of_block = sums + block * 3 * kSamples;
    const float highest = kKnown ? 0.0f : of_block[0];
    total.add(highest, of_block[kSamples], of_block[2 * kSamples]);
  }
  total.add_lanes(4);
  __syncthreads();
  if (threadIdx.x % 4 == 0 && sample < p.batch) {
    if (kKnown) {
      shared.mean[sample] = total.second * shared.inverse[sample];
      shared.entropy[sample] = total.first * shared.inverse[sample];
    } else {
      shared.highest[sample] = total.highest;
      shared.inverse[sample] = 1.0f / total.first;
      shared.mean[sample] = total.second / total.first;
      shared.entropy[sample] = logf(total.first) - total.second / total.first;
    }
  }
  __syncthreads();
}

}  // namespace fastbrain

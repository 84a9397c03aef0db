// Gradients of neighbourhood clustering on a GPU.
#pragma once

#include "neighborhood_sweep.cuh"

namespace fastbrain {

// Derivative of the entropy of a sample by a logit, without the factor 1 / sum of exponentials.
__device__ __forceinline__ float pull_of(const ClusteringLaunch& p, const Shared& shared,
                                         int sample, float logit) {
  const float moved = logit - shared.highest[sample], weight = expf(moved);
  if (p.eps > 0) {
    float value, slope;
    smooth(weight * shared.inverse[sample], p.eps, value, slope);
    return weight * (slope - shared.mean[sample]);
  }
  return weight * (shared.mean[sample] - (logit == -INFINITY ? 0.0f : moved));
}

// Computes shares of the derivatives by the features as rows: pulls times columns. The last columns
// are first, because the L2 cache still has those.
template <typename Math>
__device__ void product(const ClusteringLaunch& p, const Layout& l, const Shared& shared,
                        unsigned char* room, bool aligned) {
  using Place = Room<Math>;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, chunks = l.pitch / kPulled;
  const int wide = l.depth_tiles * Math::kDepth;
  for (int task = blockIdx.x; task < l.depth_tiles * l.splits; task += gridDim.x) {
    const int depth = task % l.depth_tiles * Math::kDepth, split = task / l.depth_tiles;
    const int steps = tiles(chunks - split, l.splits);
    const auto column_of = [&](int step) {
      return (chunks - 1 - split - step * l.splits) * kPulled;
    };
    const auto load = [&](int step) {
      if (step < steps) {
        stage_columns<Math, Math::kDepth>(p, l, room + step % 3 * Place::kPullStep, kPulled,
                                          column_of(step), depth, aligned);
      }
      close_copies();
    };
    float logits[8];
    const auto read = [&](int step) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int sample = warp * 8 + i;
        const bool valid = step < steps && sample < p.batch;
        const std::int64_t at = static_cast<std::int64_t>(sample) * l.pitch + column_of(step);
        logits[i] = valid ? p.scratch[l.logits + at + lane] : -INFINITY;
      }
    };

    typename Math::Grads sums;
    // a slow warp may still read the shared memory of the task before
    __syncthreads();
    load(0);
    load(1);
    read(0);
    for (int step = 0; step < steps; ++step) {
      unsigned char* pull = room + Place::kPull + step % 2 * Math::kPullBytes;
      float pulls[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int sample = warp * 8 + i;
        pulls[i] = sample < p.batch ? Math::kLift * pull_of(p, shared, sample, logits[i]) : 0.0f;
      }
      Math::write_pull(pull, warp * 8, lane, pulls);
      wait_for_copies<1>();
      __syncthreads();
      load(step + 2);
      read(step + 1);
      const unsigned char* columns = room + step % 3 * Place::kPullStep;
      if (column_of(step) < l.prototypes) {
        sums.add(pull, reinterpret_cast<const typename Math::Memory*>(columns), l.samples);
      } else {
        sums.add(pull, reinterpret_cast<const typename Math::Feature*>(columns), l.samples);
      }
    }
    sums.store(p.scratch + static_cast<std::int64_t>(split) * l.samples * wide + depth, wide,
               l.samples);
  }
}

// Adds the shares, and the derivatives by rows as columns of other samples. A thread has one
// element of two features, or of eight prototypes.
template <typename Math>
__device__ void finish(const ClusteringLaunch& p, const Layout& l, const Shared& shared,
                       float* pulls) {
  using Feature = typename Math::Feature;
  const Feature* features = static_cast<const Feature*>(p.features);
  const int wide = l.depth_tiles * Math::kDepth, depths = tiles(p.width, kThreads);
  const int pairs = tiles(p.batch, 2), groups = pairs + tiles(p.classes, 8);
  const float scale = p.inv_temperature / static_cast<float>(p.batch);
  for (int task = blockIdx.x; task < groups * depths; task += gridDim.x) {
    const int group = task / depths, k = task % depths * kThreads + threadIdx.x;
    const bool is_feature = group < pairs, as_columns = !is_feature || p.eps > 0;
    const int first = is_feature ? group * 2 : (group - pairs) * 8;
    const int count = min(is_feature ? 2 : 8, (is_feature ? p.batch : p.classes) - first);
    __syncthreads();
    for (int e = threadIdx.x; as_columns && e < count * p.batch; e += kThreads) {
      const int sample = e / count, j = e % count;
      const int column = (is_feature ? l.features : l.prototypes) + first + j;
      const float logit =
          p.scratch[l.logits + static_cast<std::int64_t>(sample) * l.pitch + column];
      pulls[sample * 8 + j] = pull_of(p, shared, sample, logit) * shared.inverse[sample];
    }
    __syncthreads();
    if (k >= p.width) continue;
    float sums[8] = {};
    if (is_feature) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        if (j >= count) continue;
        const float* share = p.scratch + static_cast<std::int64_t>(first + j) * wide + k;
        float sum = 0.0f;
#pragma unroll 4
        for (int split = 0; split < l.splits; ++split) {
          sum += share[static_cast<std::int64_t>(split) * l.samples * wide];
        }
        sums[j] = sum * (shared.inverse[first + j] / Math::kLift);
      }
    }
    if (as_columns) {
#pragma unroll 4
      for (int i = 0; i < p.batch; ++i) {
        const float feature = to_float(features[static_cast<std::int64_t>(i) * p.width + k]);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          if (j < count) sums[j] += pulls[i * 8 + j] * feature;
        }
      }
    }
    float* to = p.grads + static_cast<std::int64_t>(is_feature ? first : p.batch + first) * p.width;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (j < count) to[static_cast<std::int64_t>(j) * p.width + k] = sums[j] * scale;
    }
  }
}

}  // namespace fastbrain

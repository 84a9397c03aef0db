// Compiled once for each instruction set with FASTBRAIN_NAMESPACE set to its name. See isa.h: no
// standard-library template is used here.
#include "voxel_tokenizer.h"

#include <stdlib.h>

#include "parallel.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#include "tile.h"
// included after the tile, because they use its arithmetic
#include "voxel_tokenizer_patches.h"
#include "voxel_tokenizer_tasks.h"

// Blocks, in floats: the packed patches of a task (kTaskRows, kInner) and a panel of the weight
// (kInner, kColumns).
constexpr int64_t kInner = 512;
// off a power of two: rows of a tile would otherwise share the sets of the first-level cache
constexpr int64_t kStep = kInner + 16;
// joined runs leave at most kInner / (kGap + 1) + 1 of them in a block
constexpr int64_t kMostRuns = 176;
constexpr int64_t kGradInner = 256, kGradRows = 192, kGradStep = kGradInner + kColumns + 16;

struct Forward {
  const VoxelSource& source;
  Pack<float> pack;
  const float* weight;
  const float* bias;
  float* out;
  int64_t features, inner, block_rows, blocks, panels, samples;
  Tasks tasks;
  Finish finish;
  float* packed_weight;  // [block][panel][k][kColumns]; nullptr: each task packs what it uses
  float* patches;        // one (kTaskRows, kStep) for each worker
  float* panel_buffers;  // one (kInner, kColumns) for each worker
};

// Transposes one panel of one block: the weight is (features, inner), a tile reads (k, features).
void pack_panel(const Forward& f, int64_t first, int64_t depth, int64_t panel, float* to) {
  const int64_t columns = smaller(kColumns, f.features - panel * kColumns);
  const float* from = f.weight + panel * kColumns * f.inner + first;
  int64_t k = 0;
  if (columns == kColumns) {
    for (; k + kLanes <= depth; k += kLanes) {
      transpose_square(from + k, f.inner, to + k * kColumns, kColumns);
      transpose_square(from + kLanes * f.inner + k, f.inner, to + k * kColumns + kLanes, kColumns);
    }
  }
  for (; k < depth; ++k) {
    for (int64_t j = 0; j < kColumns; ++j) {
      to[k * kColumns + j] = j < columns ? from[j * f.inner + k] : 0.0f;
    }
  }
}

void pack_weight(void* context, int64_t task, int) {
  const Forward& f = *static_cast<Forward*>(context);
  const int64_t first = task / f.panels * f.block_rows * f.source.width, panel = task % f.panels;
  const int64_t depth = smaller(f.block_rows * f.source.width, f.inner - first);
  pack_panel(f, first, depth, panel,
             f.packed_weight + first * f.panels * kColumns + panel * depth * kColumns);
}

// Samples are counted token by token, all windows of one before the next: a tile then holds few
// tokens, and their voxels outside the brain are neither packed nor multiplied.
template <int kTile>
void multiply(void* context, int64_t task, int worker) {
  const Forward& f = *static_cast<Forward*>(context);
  const VoxelSource& s = f.source;
  float* patches = f.patches + worker * kTaskRows * kStep;
  float* buffer = f.panel_buffers + worker * kInner * kColumns;
  const int64_t sample = task % f.tasks.row_tasks * f.tasks.rows;
  const int64_t samples = smaller(f.tasks.rows, f.samples - sample);
  const int64_t tiles = ceil_div(samples, kTile);
  const int64_t panel_first = task / f.tasks.row_tasks * f.tasks.panel_group;
  const int64_t panel_last = smaller(panel_first + f.tasks.panel_group, f.panels);
  const int64_t all_rows = s.frames * s.rows;
  Run runs[kTaskTiles][kMostRuns];
  int64_t counts[kTaskTiles];
  float* out[kTaskRows];
  for (int64_t i = 0; i < samples; ++i) {
    const int64_t window = (sample + i) % s.batch, token = (sample + i) / s.batch;
    out[i] = f.out + (window * s.tokens + token) * f.features;
  }
  // a tile reads kTile of them; what it computes beyond the last sample is not stored
  for (int64_t i = samples * kStep; i < tiles * kTile * kStep; ++i) patches[i] = 0.0f;
  for (int64_t block = 0; block < f.blocks; ++block) {
    const int64_t first = block * f.block_rows, last = smaller(first + f.block_rows, all_rows);
    const int64_t depth = (last - first) * s.width, column_first = first * s.width;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t begin = tile * kTile, end = smaller(begin + kTile, samples);
      counts[tile] = find_runs<1>(s, sample + begin, end - begin, first, last, runs[tile]);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t window = (sample + i) % s.batch, token = (sample + i) / s.batch;
        for (int64_t run = 0; run < counts[tile]; ++run) {
          const int64_t row = runs[tile][run].first / s.width;
          const int64_t past = ceil_div(runs[tile][run].first + runs[tile][run].depth, s.width);
          f.pack(s, window, token, first + row, first + past, patches + i * kStep + row * s.width);
        }
      }
    }
    const Start start = block > 0 ? Start::kAdd : f.bias ? Start::kBias : Start::kZero;
    for (int64_t panel = panel_first; panel < panel_last; ++panel) {
      const int64_t column = panel * kColumns;
      const float* weight = buffer;
      if (f.packed_weight != nullptr) {
        weight = f.packed_weight + (column_first * f.panels + panel * depth) * kColumns;
      } else {
        pack_panel(f, column_first, depth, panel, buffer);
      }
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t i = tile * kTile;
        multiply_tile<kStep, 1, kTile>(
            runs[tile], counts[tile], patches + i * kStep, weight, kColumns, start,
            f.bias != nullptr ? f.bias + column : nullptr, out + i, column,
            smaller(kTile, samples - i), smaller(kColumns, f.features - column), f.finish);
      }
    }
  }
  if (f.finish == Finish::kStream) end_stream();
}

bool forward(const VoxelSource& source, const float* weight, const float* bias, int64_t features,
             float* out, int threads) {
  Forward f{.source = source,
            .pack = choose_pack<float>(source),
            .weight = weight,
            .bias = bias,
            .out = out,
            .features = features,
            .inner = source.frames * source.rows * source.width,
            .block_rows = kInner / source.width,
            .panels = ceil_div(features, kColumns),
            .samples = source.batch * source.tokens};
  if (f.samples == 0 || features == 0) return true;
  f.blocks = ceil_div(source.frames * source.rows, f.block_rows);
  f.tasks =
      divide(f.samples, tile_rows(source.batch), most_rows(f.blocks, f.samples), f.panels, threads);
  const bool aligned = reinterpret_cast<uintptr_t>(out) % 64 == 0 && features % kLanes == 0;
  f.finish = f.blocks == 1 && aligned ? Finish::kStream : Finish::kStore;

  // a panel that only one task uses is packed there, and never leaves that core's cache
  const bool shared = f.tasks.row_tasks > 1;
  if (shared) f.packed_weight = allocate(f.inner * f.panels * kColumns);
  f.patches = allocate(threads * kTaskRows * kStep);
  f.panel_buffers = allocate(threads * kInner * kColumns);
  const bool enough =
      (!shared || f.packed_weight != nullptr) && f.patches != nullptr && f.panel_buffers != nullptr;
  if (enough) {
    if (shared) parallel_run(threads, f.blocks * f.panels, pack_weight, &f);
    parallel_run(threads, f.tasks.row_tasks * f.tasks.groups,
                 f.tasks.tile == kRows ? multiply<kRows> : multiply<kWindowRows>, &f);
  }
  free(f.packed_weight);
  free(f.patches);
  free(f.panel_buffers);
  return enough;
}

struct Backward {
  const VoxelSource& source;
  Pack<float> pack;
  const float* grad;
  float* out;
  int64_t features, inner, samples;
  Slices slices;
  float* patches;  // one (kGradRows, kGradStep) for each worker
  float* grads;    // one (kGradRows, kRows) for each worker
};

// One slice of the inner axis and one group of features; the samples are summed in a fixed order.
void accumulate(void* context, int64_t task, int worker) {
  const Backward& g = *static_cast<Backward*>(context);
  const VoxelSource& s = g.source;
  float* patches = g.patches + worker * kGradRows * kGradStep;
  float* grads = g.grads + worker * kGradRows * kRows;
  const int64_t first = task % g.slices.count * g.slices.rows;
  const int64_t last = smaller(first + g.slices.rows, s.frames * s.rows);
  const int64_t width = (last - first) * s.width, column = first * s.width;
  const int64_t feature_first = task / g.slices.count * g.slices.tile_group * kRows;
  const int64_t feature_last = smaller(feature_first + g.slices.tile_group * kRows, g.features);
  Start start = Start::kZero;
  int64_t sample = 0;
  do {
    const float* from[kGradRows];
    int32_t count = 0;
    for (; sample < g.samples && count < kGradRows; ++sample) {
      const int64_t window = sample / s.tokens, token = sample % s.tokens;
      if (!touches(s, token, first, last)) continue;
      float* to = patches + count * kGradStep;
      g.pack(s, window, token, first, last, to);
      for (int64_t k = width; k < ceil_div(width, kColumns) * kColumns; ++k) to[k] = 0.0f;
      from[count++] = g.grad + sample * g.features;
    }
    const Run all = {0, count};
    for (int64_t feature = feature_first; feature < feature_last; feature += kRows) {
      const int64_t rows = smaller(kRows, feature_last - feature);
      float* out[kRows];
      for (int64_t j = 0; j < rows; ++j) out[j] = g.out + (feature + j) * g.inner + column;
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t j = 0; j < kRows; ++j) {
          grads[i * kRows + j] = j < rows ? from[i][feature + j] : 0.0f;
        }
      }
      for (int64_t k = 0; k < width; k += kColumns) {
        multiply_tile<1, kRows>(&all, 1, grads, patches + k, kGradStep, start, nullptr, out, k,
                                rows, smaller(kColumns, width - k));
      }
    }
    start = Start::kAdd;
  } while (sample < g.samples);
}

bool backward(const VoxelSource& source, const float* grad, int64_t features, float* grad_weight,
              int threads) {
  Backward g{.source = source,
             .pack = choose_pack<float>(source),
             .grad = grad,
             .out = grad_weight,
             .features = features,
             .inner = source.frames * source.rows * source.width,
             .samples = source.batch * source.tokens,
             .slices = divide_gradient(source, kGradInner, features, kRows, 4, threads)};
  if (g.samples == 0) {
    for (int64_t k = 0; k < features * g.inner; ++k) grad_weight[k] = 0.0f;
    return true;
  }
  g.patches = allocate(threads * kGradRows * kGradStep);
  g.grads = allocate(threads * kGradRows * kRows);
  const bool enough = g.patches != nullptr && g.grads != nullptr;
  if (enough && features > 0) {
    parallel_run(threads, g.slices.tasks, accumulate, &g);
  }
  free(g.patches);
  free(g.grads);
  return enough;
}

}  // namespace

extern const VoxelTokenizer voxel_tokenizer = {forward, backward};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

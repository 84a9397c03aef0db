// Voxel tokenizer with bfloat16 weights. Patches are normalised in float32 and rounded; products of
// pairs (AVX512_BF16) are summed in float32 in an order that does not depend on the threads.
#include <immintrin.h>
#include <stdlib.h>

#include "parallel.h"
#include "voxel_tokenizer.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#define FASTBRAIN_PAIRS
#include "tile.h"
// included after the tile, because they use its arithmetic
#include "voxel_tokenizer_panels.h"
#include "voxel_tokenizer_patches.h"
#include "voxel_tokenizer_sample_pairs.h"
#include "voxel_tokenizer_tasks.h"
// included after both, because it uses them
#include "voxel_tokenizer_bfloat16_backward.h"

// Blocks: numbers of the inner axis, in pairs as the tile reads them.
constexpr int64_t kInner = 1024;
// off a power of two: rows of a tile would otherwise share the sets of the first-level cache
constexpr int64_t kStep = kInner / 2 + 16;
// joined runs begin at even numbers and leave at most one for every four
constexpr int64_t kMostRuns = kInner / 4 + 1;
// patches of one task where they are only written down
constexpr int64_t kWrittenRows = 16;

struct Forward {
  const VoxelSource& source;
  Pack<Bfloat16> pack;
  const Bfloat16* weight;
  const float* bias;
  Bfloat16* out;
  int64_t features, inner, block_rows, blocks, panels, samples;
  Tasks tasks;
  bool streams;
  Number* packed_weight;  // [block][panel][pair][kColumns]; nullptr: each task packs what it uses
  Number* patches;        // one (kTaskRows, kStep) for each worker
  Number* panel_buffers;  // one (kInner / 2, kColumns) for each worker
  float* sums;            // one (kTaskRows, panel_group · kColumns) for each worker
};

void pack_weight(void* context, int64_t task, int) {
  const Forward& f = *static_cast<Forward*>(context);
  const int64_t first = task / f.panels * f.block_rows * f.source.width, panel = task % f.panels;
  const int64_t depth = smaller(f.block_rows * f.source.width, f.inner - first);
  const int64_t pairs = ceil_div(depth, 2);
  pack_panel(f.weight, f.features, f.inner, first, depth, panel, pairs,
             f.packed_weight + (first / 2 * f.panels + panel * pairs) * kColumns);
}

// Samples are counted token by token, all windows of one before the next: a tile then holds few
// tokens, and their voxels outside the brain are neither packed nor multiplied.
template <int kTile>
void multiply(void* context, int64_t task, int worker) {
  const Forward& f = *static_cast<Forward*>(context);
  const VoxelSource& s = f.source;
  Number* patches = f.patches + worker * kTaskRows * kStep;
  Number* buffer = f.panel_buffers + worker * (kInner / 2) * kColumns;
  const int64_t width = f.tasks.panel_group * kColumns;
  float* sums = f.sums + worker * kTaskRows * width;
  const int64_t sample = task % f.tasks.row_tasks * f.tasks.rows;
  const int64_t samples = smaller(f.tasks.rows, f.samples - sample);
  const int64_t tiles = ceil_div(samples, kTile);
  const int64_t panel_first = task / f.tasks.row_tasks * f.tasks.panel_group;
  const int64_t panel_last = smaller(panel_first + f.tasks.panel_group, f.panels);
  const int64_t all_rows = s.frames * s.rows;
  Run runs[kTaskTiles][kMostRuns];
  int64_t counts[kTaskTiles];
  // a tile reads kTile of them; what it computes beyond the last sample is not stored
  for (int64_t i = samples * kStep; i < tiles * kTile * kStep; ++i) patches[i] = 0.0f;
  for (int64_t block = 0; block < f.blocks; ++block) {
    const int64_t first = block * f.block_rows, last = smaller(first + f.block_rows, all_rows);
    const int64_t depth = (last - first) * s.width, pairs = ceil_div(depth, 2);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t begin = tile * kTile, end = smaller(begin + kTile, samples);
      Run* found = runs[tile];
      counts[tile] = find_runs<2>(s, sample + begin, end - begin, first, last, found);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t window = (sample + i) % s.batch, token = (sample + i) / s.batch;
        Bfloat16* to = reinterpret_cast<Bfloat16*>(patches + i * kStep);
        for (int64_t run = 0; run < counts[tile]; ++run) {
          const int64_t row = found[run].first / s.width;
          const int64_t past = ceil_div(found[run].first + found[run].depth, s.width);
          f.pack(s, window, token, first + row, smaller(first + past, last), to + row * s.width);
        }
        // the second of an incomplete pair
        if (depth % 2 != 0) write(to + depth, 0.0f);
      }
      for (int64_t run = 0; run < counts[tile]; ++run) {
        found[run].first /= 2;
        found[run].depth /= 2;
      }
    }
    const Start start = block > 0 ? Start::kAdd : f.bias ? Start::kBias : Start::kZero;
    for (int64_t panel = panel_first; panel < panel_last; ++panel) {
      const int64_t column = panel * kColumns, columns = smaller(kColumns, f.features - column);
      const Number* weight = buffer;
      if (f.packed_weight != nullptr) {
        weight = f.packed_weight + (first * s.width / 2 * f.panels + panel * pairs) * kColumns;
      } else {
        pack_panel(f.weight, f.features, f.inner, first * s.width, depth, panel, pairs, buffer);
      }
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t begin = tile * kTile, rows = smaller(kTile, samples - begin);
        float* sum[kTile];
        for (int i = 0; i < kTile; ++i) {
          // one block: a tile's sums are rounded at once, and stay in the first-level cache
          sum[i] = f.blocks == 1 ? sums + i * kColumns
                                 : sums + (begin + i) * width + column - panel_first * kColumns;
        }
        multiply_tile<kStep, 1, kTile>(
            runs[tile], counts[tile], patches + begin * kStep, weight, kColumns, start,
            f.bias != nullptr ? f.bias + column : nullptr, sum, 0, rows, columns);
        if (block + 1 < f.blocks) continue;
        for (int64_t i = 0; i < rows; ++i) {
          const int64_t at = sample + begin + i, window = at % s.batch, token = at / s.batch;
          round_row(sum[i], f.out + (window * s.tokens + token) * f.features + column, columns,
                    f.streams);
        }
      }
    }
  }
  if (f.streams) end_stream();
}

bool forward(const VoxelSource& source, const Bfloat16* weight, const float* bias, int64_t features,
             Bfloat16* out, int threads) {
  Forward f{.source = source,
            .pack = choose_pack<Bfloat16>(source),
            .weight = weight,
            .bias = bias,
            .out = out,
            .features = features,
            .inner = source.frames * source.rows * source.width,
            // even, so that no pair belongs to two blocks
            .block_rows = kInner / source.width / 2 * 2,
            .panels = ceil_div(features, kColumns),
            .samples = source.batch * source.tokens};
  if (f.samples == 0 || features == 0) return true;
  f.blocks = ceil_div(source.frames * source.rows, f.block_rows);
  f.tasks =
      divide(f.samples, tile_rows(source.batch), most_rows(f.blocks, f.samples), f.panels, threads);
  f.streams = reinterpret_cast<uintptr_t>(out) % 64 == 0 && features % kColumns == 0;
  // a panel that only one task uses is packed there, and never leaves that core's cache
  const bool shared = f.tasks.row_tasks > 1;
  if (shared) f.packed_weight = allocate(ceil_div(f.inner, 2) * f.panels * kColumns);
  f.patches = allocate(threads * kTaskRows * kStep);
  f.panel_buffers = allocate(threads * (kInner / 2) * kColumns);
  f.sums = allocate(threads * kTaskRows * f.tasks.panel_group * kColumns);
  const bool enough = (!shared || f.packed_weight != nullptr) && f.patches != nullptr &&
                      f.panel_buffers != nullptr && f.sums != nullptr;
  if (enough) {
    if (shared) parallel_run(threads, f.blocks * f.panels, pack_weight, &f);
    parallel_run(threads, f.tasks.row_tasks * f.tasks.groups,
                 f.tasks.tile == kRows ? multiply<kRows> : multiply<kWindowRows>, &f);
  }
  free(f.packed_weight);
  free(f.patches);
  free(f.panel_buffers);
  free(f.sums);
  return enough;
}

struct Written {
  const VoxelSource& source;
  Pack<Bfloat16> pack;
  int64_t first, count, inner;
  Bfloat16* out;
};

void write_patches(void* context, int64_t task, int) {
  const Written& w = *static_cast<Written*>(context);
  const VoxelSource& s = w.source;
  const int64_t last = smaller(w.count, (task + 1) * kWrittenRows);
  for (int64_t i = task * kWrittenRows; i < last; ++i) {
    const int64_t window = (w.first + i) / s.tokens, token = (w.first + i) % s.tokens;
    w.pack(s, window, token, 0, s.frames * s.rows, w.out + i * w.inner);
  }
}

void patches(const VoxelSource& source, int64_t first, int64_t count, Bfloat16* out, int threads) {
  Written w{.source = source,
            .pack = choose_pack<Bfloat16>(source),
            .first = first,
            .count = count,
            .inner = source.frames * source.rows * source.width,
            .out = out};
  parallel_run(threads, ceil_div(count, kWrittenRows), write_patches, &w);
}

}  // namespace

extern const VoxelTokenizerBfloat16 voxel_tokenizer_bfloat16 = {forward, backward, patches};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

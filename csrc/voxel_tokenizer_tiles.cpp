// Voxel tokenizer with bfloat16 weights on CPUs that multiply whole tiles (AMX). Patches are
// normalised in float32 and rounded; sums are float32, in an order that does not depend on the
// threads.
#include <immintrin.h>
#include <stdlib.h>

#include "parallel.h"
#include "voxel_tokenizer.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#define FASTBRAIN_PAIRS
#include "tile.h"
// included after the tile, because they use its arithmetic
#include "tile_registers.h"
#include "voxel_tokenizer_panels.h"
#include "voxel_tokenizer_patches.h"
#include "voxel_tokenizer_sample_pairs.h"
#include "voxel_tokenizer_tasks.h"

// Rows of a square of four tiles; it has kColumns columns.
constexpr int64_t kSquare = 2 * kTileRows;
// included after it, because it uses it
#include "voxel_tokenizer_tiles_backward.h"
// Blocks of the inner axis: a panel of the weight stays in the first-level cache.
constexpr int64_t kInner = 1024;
// off a power of two: rows of a tile would otherwise share the sets of the first-level cache
constexpr int64_t kStep = kInner / 2 + 16;
constexpr int64_t kSamples = 128;
// runs are whole steps of a tile
constexpr int64_t kMostRuns = kInner / kTileInner;
// Few samples: their packed patches stay in the second-level cache.
constexpr int64_t kFewSamples = 1024, kFewNumbers = 1 << 21;
constexpr int64_t kTasksAThread = 8;

struct Forward {
  const VoxelSource& source;
  Pack<Bfloat16> pack;
  const Bfloat16* weight;
  const float* bias;
  Bfloat16* out;
  int64_t features, inner, block_rows, blocks, panels, pairs, samples;
  Tasks tasks;
  bool streams;
  Number* packed_weight;  // [block][panel](pairs, kColumns); nullptr: each task packs what it uses
  float* packed_bias;     // (panels · kColumns)
  Number* patches;        // one (kSamples, kStep) for each worker
  Number* panel_buffers;  // one (kInner / 2, kColumns) for each worker
  float* sums;            // one (kSamples, panel_group · kColumns) for each worker
};

// Few samples: their patches are packed once for all tasks, and each task packs a panel for itself.
struct Few {
  const Forward& f;
  int64_t squares, chunk, chunks;  // squares of samples; those of one task; tasks for each panel
  Number* patches;                 // [block][square](kSquare, kStep)
  Run* runs;                       // [block][square](kMostRuns)
  int32_t* counts;                 // [block][square]
  Number* panel_buffers;           // one (kInner / 2, kColumns) for each worker
  float* sums;                     // one [square of the task](kSquare, kColumns) for each worker
};

void pack_block(const Forward& f, int64_t block, int64_t panel, Number* to) {
  const int64_t first = block * f.block_rows * f.source.width;
  const int64_t depth = smaller(f.block_rows * f.source.width, f.inner - first);
  pack_panel(f.weight, f.features, f.inner, first, depth, panel, f.pairs, to);
}

void pack_weight(void* context, int64_t task, int) {
  const Forward& f = *static_cast<Forward*>(context);
  pack_block(f, task / f.panels, task % f.panels, f.packed_weight + task * f.pairs * kColumns);
}

// The patches of a square of samples and where they have brain; returns the number of runs.
int64_t pack_square(const Forward& f, int64_t sample, int64_t count, int64_t first, int64_t last,
                    Number* patches, Run* runs) {
  const VoxelSource& s = f.source;
  const int64_t depth = (last - first) * s.width;
  const int64_t found = find_runs<kTileInner>(s, sample, count, first, last, runs);
  int64_t window = sample % s.batch, token = sample / s.batch;
  for (int64_t i = 0; i < count; ++i) {
    Bfloat16* to = reinterpret_cast<Bfloat16*>(patches + i * kStep);
    for (int64_t run = 0; run < found; ++run) {
      const int64_t row = runs[run].first / s.width;
      const int64_t past = ceil_div(runs[run].first + runs[run].depth, s.width);
      f.pack(s, window, token, first + row, smaller(first + past, last), to + row * s.width);
    }
    for (int64_t k = depth; k % kTileInner != 0; ++k) to[k] = 0;
    if (++window == s.batch) window = 0, ++token;
  }
  return found;
}

// Adds the products of a square of samples and a panel over one block; the last block rounds them.
void add_square(const Forward& f, int64_t block, int64_t panel, int64_t sample, int64_t rows,
                const Run* runs, int64_t count, const Number* patches, const Number* weight,
                float* sum, int64_t step) {
  const int64_t column = panel * kColumns, columns = smaller(kColumns, f.features - column);
  if (block == 0) {
    start_square(f.packed_bias + column, 0);
  } else {
    start_square(sum, step);
  }
  multiply_square(runs, count, patches, kStep, weight, kColumns);
  store_square(sum, step);
  if (block + 1 < f.blocks) return;
  // counted: a division for each row takes as long as rounding it
  int64_t window = sample % f.source.batch, token = sample / f.source.batch;
  for (int64_t i = 0; i < rows; ++i) {
    round_row(sum + i * step, f.out + (window * f.source.tokens + token) * f.features + column,
              columns, f.streams);
    if (++window == f.source.batch) window = 0, ++token;
  }
}

void pack_few(void* context, int64_t task, int) {
  const Few& few = *static_cast<Few*>(context);
  const Forward& f = few.f;
  const int64_t first = task / few.squares * f.block_rows;
  const int64_t last = smaller(first + f.block_rows, f.source.frames * f.source.rows);
  const int64_t sample = task % few.squares * kSquare;
  const int64_t found =
      pack_square(f, sample, smaller(kSquare, f.samples - sample), first, last,
                  few.patches + task * kSquare * kStep, few.runs + task * kMostRuns);
  few.counts[task] = static_cast<int32_t>(found);
}

void multiply_few(void* context, int64_t task, int worker) {
  const Few& few = *static_cast<Few*>(context);
  const Forward& f = few.f;
  Number* weight = few.panel_buffers + worker * (kInner / 2) * kColumns;
  float* sums = few.sums + worker * few.chunk * kSquare * kColumns;
  const int64_t panel = task / few.chunks, begin = task % few.chunks * few.chunk;
  const int64_t end = smaller(begin + few.chunk, few.squares);
  const TileRegisters registers;
  for (int64_t block = 0; block < f.blocks; ++block) {
    pack_block(f, block, panel, weight);
    for (int64_t square = begin; square < end; ++square) {
      const int64_t at = block * few.squares + square, sample = square * kSquare;
      // one block: the sums are rounded at once, and stay in the first-level cache
      float* sum = f.blocks == 1 ? sums : sums + (square - begin) * kSquare * kColumns;
      add_square(f, block, panel, sample, smaller(kSquare, f.samples - sample),
                 few.runs + at * kMostRuns, few.counts[at], few.patches + at * kSquare * kStep,
                 weight, sum, kColumns);
    }
  }
  if (f.streams) end_stream();
}

bool forward_few(Forward& f, int threads) {
  Few few{.f = f, .squares = ceil_div(f.samples, kSquare)};
  few.chunks = smaller(few.squares, ceil_div(kTasksAThread * threads, f.panels));
  few.chunk = ceil_div(few.squares, few.chunks);
  few.chunks = ceil_div(few.squares, few.chunk);
  const int64_t packed = f.blocks * few.squares;
  few.patches = allocate(packed * kSquare * kStep);
  few.runs = static_cast<Run*>(malloc(packed * kMostRuns * sizeof(Run)));
  few.counts = static_cast<int32_t*>(malloc(packed * sizeof(int32_t)));
  few.panel_buffers = allocate(threads * (kInner / 2) * kColumns);
  few.sums = allocate(threads * few.chunk * kSquare * kColumns);
  const bool enough = few.patches != nullptr && few.runs != nullptr && few.counts != nullptr &&
                      few.panel_buffers != nullptr && few.sums != nullptr;
  if (enough) {
    parallel_run(threads, packed, pack_few, &few);
    parallel_run(threads, f.panels * few.chunks, multiply_few, &few);
  }
  free(few.patches);
  free(few.runs);
  free(few.counts);
  free(few.panel_buffers);
  free(few.sums);
  return enough;
}

void multiply(void* context, int64_t task, int worker) {
  const Forward& f = *static_cast<Forward*>(context);
  const VoxelSource& s = f.source;
  Number* patches = f.patches + worker * kSamples * kStep;
  Number* buffer = f.panel_buffers + worker * (kInner / 2) * kColumns;
  const int64_t width = f.tasks.panel_group * kColumns;
  float* sums = f.sums + worker * kSamples * width;
  const int64_t sample = task % f.tasks.row_tasks * f.tasks.rows;
  const int64_t samples = smaller(f.tasks.rows, f.samples - sample);
  const int64_t squares = ceil_div(samples, kSquare);
  const int64_t panel_first = task / f.tasks.row_tasks * f.tasks.panel_group;
  const int64_t panel_last = smaller(panel_first + f.tasks.panel_group, f.panels);
  Run runs[kSamples / kSquare][kMostRuns];
  int64_t counts[kSamples / kSquare];
  const TileRegisters registers;
  for (int64_t block = 0; block < f.blocks; ++block) {
    const int64_t first = block * f.block_rows;
    const int64_t last = smaller(first + f.block_rows, s.frames * s.rows);
    for (int64_t square = 0; square < squares; ++square) {
      const int64_t begin = square * kSquare;
      counts[square] = pack_square(f, sample + begin, smaller(kSquare, samples - begin), first,
                                   last, patches + begin * kStep, runs[square]);
    }
    for (int64_t panel = panel_first; panel < panel_last; ++panel) {
      const int64_t column = panel * kColumns;
      const Number* weight = buffer;
      if (f.packed_weight != nullptr) {
        weight = f.packed_weight + (block * f.panels + panel) * f.pairs * kColumns;
      } else {
        pack_block(f, block, panel, buffer);
      }
      for (int64_t square = 0; square < squares; ++square) {
        const int64_t begin = square * kSquare;
        // one block: the sums are rounded at once, and stay in the first-level cache
        const int64_t step = f.blocks == 1 ? kColumns : width;
        float* sum = f.blocks == 1 ? sums : sums + begin * width + column - panel_first * kColumns;
        add_square(f, block, panel, sample + begin, smaller(kSquare, samples - begin), runs[square],
                   counts[square], patches + begin * kStep, weight, sum, step);
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
            .block_rows = kInner / source.width,
            .panels = ceil_div(features, kColumns),
            .samples = source.batch * source.tokens};
  if (f.samples == 0 || features == 0) return true;
  f.block_rows = smaller(f.block_rows, source.frames * source.rows);
  f.blocks = ceil_div(source.frames * source.rows, f.block_rows);
  f.pairs = ceil_div(f.block_rows * source.width, kTileInner) * kTileInner / 2;
  f.tasks = divide(f.samples, kSquare, kSamples, f.panels, threads);
  f.streams = reinterpret_cast<uintptr_t>(out) % 64 == 0 && features % kColumns == 0;
  f.packed_bias = allocate(f.panels * kColumns);
  if (f.packed_bias == nullptr) return false;
  for (int64_t j = 0; j < f.panels * kColumns; ++j) {
    f.packed_bias[j] = bias != nullptr && j < features ? bias[j] : 0.0f;
  }
  if (f.samples <= kFewSamples && f.samples * f.inner <= kFewNumbers) {
    const bool enough = forward_few(f, threads);
    free(f.packed_bias);
    return enough;
  }
  // a panel that only one task uses is packed there, and never leaves that core's cache
  const bool shared = f.tasks.row_tasks > 1;
  if (shared) f.packed_weight = allocate(f.blocks * f.panels * f.pairs * kColumns);
  f.patches = allocate(threads * kSamples * kStep);
  f.panel_buffers = allocate(threads * (kInner / 2) * kColumns);
  f.sums = allocate(threads * kSamples * f.tasks.panel_group * kColumns);
  const bool enough = (!shared || f.packed_weight != nullptr) && f.patches != nullptr &&
                      f.panel_buffers != nullptr && f.sums != nullptr;
  if (enough) {
    if (shared) parallel_run(threads, f.blocks * f.panels, pack_weight, &f);
    parallel_run(threads, f.tasks.row_tasks * f.tasks.groups, multiply, &f);
  }
  free(f.packed_weight);
  free(f.packed_bias);
  free(f.patches);
  free(f.panel_buffers);
  free(f.sums);
  return enough;
}

}  // namespace

extern const VoxelTokenizerTiles voxel_tokenizer_tiles = {forward, backward};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

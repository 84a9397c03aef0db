// Compiled once for each instruction set with FASTBRAIN_NAMESPACE set to its name. See isa.h: no
// standard-library template is used here.
//
// The nearest code has the largest score x · c - |c|² / 2: of the distance, |x|² is dropped. Codes
// lie in panels of kColumns with the inner axis outside, so that a code is a lane and its score the
// sum of the same terms in the same order wherever it stands: equal codes tie exactly.
#include "vq.h"

#include <stdlib.h>

#include "parallel.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#include "tile.h"
#include "vq_rows.h"
#include "vq_tile.h"

void pack_panel(const VqCodes& codes, int64_t panel, float* to) {
  const int64_t width = codes.width, columns = smaller(kColumns, codes.count - panel * kColumns);
  const float* from = codes.values + panel * kColumns * width;
  float* values = to + kColumns;
  int64_t k = 0;
  if (columns == kColumns) {
    for (; k + kLanes <= width; k += kLanes) {
      transpose_square(from + k, width, values + k * kColumns, kColumns);
      transpose_square(from + kLanes * width + k, width, values + k * kColumns + kLanes, kColumns);
    }
  }
  for (; k < width; ++k) {
    for (int64_t j = 0; j < kColumns; ++j) {
      values[k * kColumns + j] = j < columns ? from[j * width + k] : 0.0f;
    }
  }
  for (int64_t j = 0; j < columns; ++j) {
    to[j] = codes.euclidean ? minus_half_square(from + j * width, width) : 0.0f;
  }
  // what is no code never wins
  for (int64_t j = columns; j < kColumns; ++j) to[j] = -__builtin_inff();
}

struct Packing {
  const VqCodes& codes;
  float* to;
};

void pack_one(void* context, int64_t panel, int) {
  const Packing& p = *static_cast<Packing*>(context);
  pack_panel(p.codes, panel, p.to + panel * (1 + p.codes.width) * kColumns);
}

void pack(const VqCodes& codes, float* to, int threads) {
  Packing packing{codes, to};
  parallel_run(threads, ceil_div(codes.count, kColumns), pack_one, &packing);
}

struct Lookup {
  const VqRows& rows;
  VqCodes codes;
  int64_t* out;
  Plan plan;
  int64_t depth = 0, buffer_step = 0;
  float* buffers = nullptr;  // for each worker: block_tiles (depth, kLanes), kLanes rows, panels
  Best* best = nullptr;      // block_tiles for each worker
  Found* found = nullptr;    // (groups, count)
};

// Rows of a tile, transposed to (depth, kLanes); depth is the width rounded up to whole squares.
void pack_rows(const Lookup& l, int64_t first, int64_t count, float* lines, float* to) {
  const int64_t step = l.depth + kLanes;
  for (int64_t i = 0; i < count; ++i) {
    widen(l.rows, row_of(l.rows, first + i), 0, l.rows.width, lines + i * step);
  }
  for (int64_t k = 0; k < l.depth; k += kLanes) {
    transpose_square(lines + k, step, to + k * kLanes, kLanes);
  }
}

void find(void* context, int64_t task, int worker) {
  const Lookup& l = *static_cast<Lookup*>(context);
  const Plan& plan = l.plan;
  const int64_t tile_floats = l.depth * kLanes, step = (1 + l.rows.width) * kColumns;
  float* rows = l.buffers + worker * l.buffer_step;
  float* lines = rows + plan.block_tiles * tile_floats;
  float* packed = lines + kLanes * (l.depth + kLanes);
  Best* best = l.best + worker * plan.block_tiles;
  const int64_t group = task / plan.blocks, first = task % plan.blocks * plan.block_tiles * kRows;
  const int64_t count = smaller(plan.block_tiles * kRows, l.rows.count - first);
  const int64_t tiles = ceil_div(count, kRows), last_rows = count - (tiles - 1) * kRows;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    pack_rows(l, first + tile * kRows, tile + 1 < tiles ? kRows : last_rows, lines,
              rows + tile * tile_floats);
    for (int64_t i = 0; i < kRows; ++i) {
      best[tile].score[i] = Lanes{} - __builtin_inff();
      best[tile].half[i] = Ids{};
    }
  }
  const Scan whole = scan_of(kRows), last = scan_of(last_rows);
  const int64_t panel_last = smaller((group + 1) * plan.panel_group, plan.panels);
  const int64_t chunk = tiles == 1 ? kChunk : 1;
  for (int64_t panel = group * plan.panel_group; panel < panel_last; panel += chunk) {
    const int64_t panels = smaller(chunk, panel_last - panel);
    const float* from = packed;
    if (l.codes.panels != nullptr) {
      from = l.codes.panels + panel * step;
    } else {
      for (int64_t p = 0; p < panels; ++p) pack_panel(l.codes, panel + p, packed + p * step);
    }
    for (int64_t tile = 0; tile < tiles; ++tile) {
      (tile + 1 < tiles ? whole : last)(rows + tile * tile_floats, from, step, l.rows.width, panel,
                                        panels, best[tile]);
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    const Found found = reduce(best[i / kRows], i % kRows);
    if (plan.groups > 1) {
      l.found[group * l.rows.count + first + i] = found;
    } else {
      l.out[row_of(l.rows, first + i)] = found.code;
    }
  }
}

bool lookup(const VqRows& rows, const VqCodes& codes, int64_t* out, int threads) {
  Lookup l{rows, codes, out, {}};
  l.depth = ceil_div(rows.width, kLanes) * kLanes;
  const Plan& plan = l.plan = plan_of(rows.count, l.depth, codes.count, threads);
  // codes that one task alone reads are packed there, and never leave that core's cache
  float* packed = nullptr;
  const bool shared = codes.panels == nullptr && plan.blocks > 1;
  if (shared) packed = allocate(plan.panels * (1 + codes.width) * kColumns);
  l.buffer_step = plan.block_tiles * l.depth * kLanes + kLanes * (l.depth + kLanes) +
                  (codes.panels != nullptr || shared ? 0 : kChunk * (1 + rows.width) * kColumns);
  l.buffers = allocate(threads * l.buffer_step);
  l.best = reinterpret_cast<Best*>(
      allocate(threads * plan.block_tiles * static_cast<int64_t>(sizeof(Best) / sizeof(float))));
  // the best of each group of codes, where there are several
  if (plan.groups > 1) {
    l.found = static_cast<Found*>(malloc(plan.groups * rows.count * sizeof(Found)));
  }
  const bool enough = l.buffers != nullptr && l.best != nullptr && (!shared || packed != nullptr) &&
                      (plan.groups == 1 || l.found != nullptr);
  if (enough) {
    // kLanes rows are transposed where a tile has fewer: the others are read, but never scored
    for (int64_t i = 0; i < threads * l.buffer_step; ++i) l.buffers[i] = 0.0f;
    if (shared) {
      pack(codes, packed, threads);
      l.codes.panels = packed;
    }
    parallel_run(threads, plan.blocks * plan.groups, find, &l);
    if (plan.groups > 1) join(plan, rows, l.found, out);
  }
  free(packed);
  free(l.buffers);
  free(l.best);
  free(l.found);
  return enough;
}

struct Sums {
  const VqRows& rows;
  const bool* mask;
  const int64_t* indices;
  int64_t codes, share;
  int64_t* counts;
  float* sums;
};

// One share of the codes: every sum is made by one thread, in the order of the rows.
void add(void* context, int64_t task, int) {
  const Sums& s = *static_cast<Sums*>(context);
  const int64_t first = task * s.share, last = smaller(first + s.share, s.codes);
  const int64_t width = s.rows.width;
  for (int64_t code = first; code < last; ++code) s.counts[code] = 0;
  for (int64_t i = first * width; i < last * width; ++i) s.sums[i] = 0.0f;
  for (int64_t row = 0; row < s.rows.count; ++row) {
    const int64_t code = s.indices[row];
    if (code < first || code >= last || (s.mask != nullptr && !s.mask[row])) continue;
    ++s.counts[code];
    float* to = s.sums + code * width;
    for (int64_t k = 0; k < width; k += kColumns) {
      float values[kColumns];
      const int64_t count = smaller(kColumns, width - k);
      widen(s.rows, row, k, count, values);
      for (int64_t j = 0; j < count; ++j) to[k + j] += values[j];
    }
  }
}

void sums(const VqRows& rows, const bool* mask, const int64_t* indices, int64_t codes,
          int64_t* counts, float* to, int threads) {
  Sums s{rows, mask, indices, codes, ceil_div(codes, threads), counts, to};
  if (codes > 0) parallel_run(threads, ceil_div(codes, s.share), add, &s);
}

}  // namespace

extern const Vq vq = {kColumns, pack, lookup, sums};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

// Compiled once for each instruction set with FASTBRAIN_NAMESPACE set to its name, and by
// vq_double.cpp in float64. See isa.h: no standard-library template is used here.
//
// The nearest code has the largest score x · c - |c|² / 2: of the distance, |x|² is dropped. Codes
// are stored in panels of kColumns with the inner axis outside, so that a code is a lane and its
// score the sum of the same terms in the same order at any position: equal codes tie exactly.
#include "vq.h"

#include <stdlib.h>

#include "parallel.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#include "tile.h"
#include "vq_rows.h"
#include "vq_tile.h"
#if !defined(FASTBRAIN_DOUBLE)
#include "vq_digest.h"
#include "vq_plain_tile.h"
// included after the tile, because it uses its products
#include "vq_plain.h"
#endif

struct Reading {
  const VqSource& codes;
  Number* to;
};

void read_some(void* context, int64_t task, int) {
  const Reading& r = *static_cast<Reading*>(context);
  const int64_t last = smaller((task + 1) * kColumns, r.codes.count);
  for (int64_t code = task * kColumns; code < last; ++code) {
    read_code(r.codes, code, r.to + code * r.codes.width);
  }
}

void read(const VqSource& codes, Number* to, int threads) {
  Reading reading{codes, to};
  parallel_run(threads, ceil_div(codes.count, kColumns), read_some, &reading);
}

void pack_panel(const VqCodes<Number>& codes, int64_t panel, Number* to) {
  const int64_t width = codes.width, columns = smaller(kColumns, codes.count - panel * kColumns);
  const Number* from = codes.values + panel * kColumns * width;
  Number* values = to + kColumns;
  int64_t k = 0;
  if (columns == kColumns) {
    for (; k + kLanes <= width; k += kLanes) {
      transpose_square(from + k, width, values + k * kColumns, kColumns);
      transpose_square(from + kLanes * width + k, width, values + k * kColumns + kLanes, kColumns);
    }
  }
  for (; k < width; ++k) {
    for (int64_t j = 0; j < kColumns; ++j) {
      values[k * kColumns + j] = j < columns ? from[j * width + k] : 0;
    }
  }
  for (int64_t j = 0; j < columns; ++j) {
    to[j] = codes.euclidean ? minus_half_square(from + j * width, width) : 0;
  }
  // padding never wins
  for (int64_t j = columns; j < kColumns; ++j) to[j] = -__builtin_inff();
}

struct Packing {
  const VqCodes<Number>& codes;
  Number* to;
};

void pack_one(void* context, int64_t panel, int) {
  const Packing& p = *static_cast<Packing*>(context);
  pack_panel(p.codes, panel, p.to + panel * (1 + p.codes.width) * kColumns);
}

void pack(const VqCodes<Number>& codes, Number* to, int threads) {
  Packing packing{codes, to};
  parallel_run(threads, ceil_div(codes.count, kColumns), pack_one, &packing);
}

struct Lookup {
  const VqRows& rows;
  VqCodes<Number> codes;
  int64_t* out;
  Plan plan;
  int64_t depth = 0, buffer_step = 0;
  Number* buffers =
      nullptr;             // for each worker: block_tiles (depth, kRowStep), kRowStep rows, panels
  Best* best = nullptr;    // block_tiles for each worker
  Found* found = nullptr;  // (groups, count)
};

// Rows of a tile, transposed to (depth, kRowStep); depth is the width rounded up to whole squares.
void pack_rows(const Lookup& l, int64_t first, int64_t count, Number* lines, Number* to) {
  const int64_t step = l.depth + kLanes;
  for (int64_t i = 0; i < count; ++i) {
    widen(l.rows, row_of(l.rows, first + i), 0, l.rows.width, lines + i * step);
  }
  for (int64_t k = 0; k < l.depth; k += kLanes) {
    for (int64_t i = 0; i < kRowStep; i += kLanes) {
      transpose_square(lines + i * step + k, step, to + k * kRowStep + i, kRowStep);
    }
  }
}

void find(void* context, int64_t task, int worker) {
  const Lookup& l = *static_cast<Lookup*>(context);
  const Plan& plan = l.plan;
  const int64_t tile_size = l.depth * kRowStep, step = (1 + l.rows.width) * kColumns;
  Number* rows = l.buffers + worker * l.buffer_step;
  Number* lines = rows + plan.block_tiles * tile_size;
  Number* packed = lines + kRowStep * (l.depth + kLanes);
  Best* best = l.best + worker * plan.block_tiles;
  const int64_t group = task / plan.blocks, first = task % plan.blocks * plan.block_tiles * kRows;
  const int64_t count = smaller(plan.block_tiles * kRows, l.rows.count - first);
  const int64_t tiles = ceil_div(count, kRows), last_rows = count - (tiles - 1) * kRows;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    pack_rows(l, first + tile * kRows, tile + 1 < tiles ? kRows : last_rows, lines,
              rows + tile * tile_size);
    for (int64_t i = 0; i < kRows; ++i) {
      best[tile].score[i] = Lanes{} - __builtin_inff();
      best[tile].half[i] = Integers{};
    }
  }
  const Scan whole = scan_of(kRows), last = scan_of(last_rows);
  const int64_t panel_last = smaller((group + 1) * plan.panel_group, plan.panels);
  const int64_t chunk = tiles == 1 ? kChunk : 1;
  for (int64_t panel = group * plan.panel_group; panel < panel_last; panel += chunk) {
    const int64_t panels = smaller(chunk, panel_last - panel);
    const Number* from = packed;
    if (l.codes.panels != nullptr) {
      from = l.codes.panels + panel * step;
    } else {
      for (int64_t p = 0; p < panels; ++p) pack_panel(l.codes, panel + p, packed + p * step);
    }
    for (int64_t tile = 0; tile < tiles; ++tile) {
      (tile + 1 < tiles ? whole : last)(rows + tile * tile_size, from, step, l.rows.width, panel,
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

bool lookup(const VqRows& rows, const VqCodes<Number>& codes, int64_t* out, int threads) {
  Lookup l{rows, codes, out, {}};
  l.depth = ceil_div(rows.width, kLanes) * kLanes;
  const Plan& plan = l.plan = plan_of(rows.count, l.depth, codes.count, threads, 16);
  // codes that one task alone reads are packed there, and never leave that core's cache
  Number* packed = nullptr;
  const bool shared = codes.panels == nullptr && plan.blocks > 1;
  if (shared) packed = allocate(plan.panels * (1 + codes.width) * kColumns);
  l.buffer_step = (plan.block_tiles * l.depth + l.depth + kLanes) * kRowStep +
                  (codes.panels != nullptr || shared ? 0 : kChunk * (1 + rows.width) * kColumns);
  l.buffers = allocate(threads * l.buffer_step);
  l.best = reinterpret_cast<Best*>(
      allocate(threads * plan.block_tiles * static_cast<int64_t>(sizeof(Best) / sizeof(Number))));
  // the best of each group of codes, where there are several
  if (plan.groups > 1) {
    l.found = static_cast<Found*>(malloc(plan.groups * rows.count * sizeof(Found)));
  }
  const bool enough = l.buffers != nullptr && l.best != nullptr && (!shared || packed != nullptr) &&
                      (plan.groups == 1 || l.found != nullptr);
  if (enough) {
    // kRowStep rows are transposed where a tile has fewer: the others are read, but never scored
    for (int64_t i = 0; i < threads * l.buffer_step; ++i) l.buffers[i] = 0;
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
  Number* sums;
};

// One share of the codes: every sum is made by one thread, in the order of the rows.
void add(void* context, int64_t task, int) {
  const Sums& s = *static_cast<Sums*>(context);
  const int64_t first = task * s.share, last = smaller(first + s.share, s.codes);
  const int64_t width = s.rows.width;
  for (int64_t code = first; code < last; ++code) s.counts[code] = 0;
  for (int64_t i = first * width; i < last * width; ++i) s.sums[i] = 0;
  for (int64_t row = 0; row < s.rows.count; ++row) {
    const int64_t code = s.indices[row];
    if (code < first || code >= last || (s.mask != nullptr && !s.mask[row])) continue;
    ++s.counts[code];
    Number* to = s.sums + code * width;
    for (int64_t k = 0; k < width; k += kColumns) {
      Number values[kColumns];
      const int64_t count = smaller(kColumns, width - k);
      widen(s.rows, row, k, count, values);
      for (int64_t j = 0; j < count; ++j) to[k + j] += values[j];
    }
  }
}

void sums(const VqRows& rows, const bool* mask, const int64_t* indices, int64_t codes,
          int64_t* counts, Number* to, int threads) {
  Sums s{rows, mask, indices, codes, ceil_div(codes, threads), counts, to};
  if (codes > 0) parallel_run(threads, ceil_div(codes, s.share), add, &s);
}

}  // namespace

const Vq<Number>& vq(Number) {
  static constexpr Vq<Number> kernels = {kColumns, read, pack, lookup, sums};
  return kernels;
}

#if !defined(FASTBRAIN_DOUBLE)
extern const VqPlain vq_plain = {plain, kPart, digest};
#endif

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

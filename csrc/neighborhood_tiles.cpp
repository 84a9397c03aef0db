// Products with a bfloat16 memory on CPUs that multiply whole tiles (AMX). Each product reads the
// memory once, in order, at the speed of main memory; what is small, features or weights, is
// packed. Sums are float32, in an order that does not depend on the threads.
#include "neighborhood_tiles.h"

#include <immintrin.h>
#include <stdlib.h>

#include "parallel.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#define FASTBRAIN_PAIRS
#include "tile.h"
// included after the tile, because they use its arithmetic
#include "tile_registers.h"

// Tiles of samples that have their sums in registers at a time.
constexpr int64_t kGroup = 3;
constexpr int64_t kTileNumbers = kTileRows * kTileRows;  // of one packed tile, 1 KB
constexpr int64_t kSquare = 2 * kTileRows;
// Rows of the memory of one task of the first product.
constexpr int64_t kScoreTask = 4 * kSquare;
// The second product goes through the memory by so many rows and columns.
constexpr int64_t kChunk = 256, kLeastPanel = 256, kWidestPanel = 1024;
// pairs of rows from the one that is packed to the one that is fetched
constexpr int64_t kAhead = 8;

// included after the sizes, because it uses them
#include "neighborhood_tile_products.h"

struct Scores {
  const TileMemory& m;
  const uint16_t* features;
  int64_t batch, tiles, steps;  // tiles of samples; steps of the inner axis
  float factor;
  float* logits;
  int64_t step;
  float* norms;
  Number* packed;  // [step][tile](pairs, samples)
  Number* last;    // (kSquare, width / 2): the rows behind the last whole square, then zeros
};

void pack_features(void* context, int64_t k, int) {
  const Scores& s = *static_cast<Scores*>(context);
  const int64_t pairs = s.m.width / 2;
  const Number* from = reinterpret_cast<const Number*>(s.features) + k * kTileRows;
  for (int64_t tile = 0; tile < s.tiles; ++tile) {
    Number some[kTileNumbers] = {};
    for (int64_t i = 0; i < smaller(kTileRows, s.batch - tile * kTileRows); ++i) {
      store(some + i * kTileRows, load(from + (tile * kTileRows + i) * pairs));
    }
    transpose_square(some, kTileRows, s.packed + (k * s.tiles + tile) * kTileNumbers, kTileRows);
  }
}

float norm_of(const Number* row, int64_t pairs) {
  Lanes sums[4] = {};
  for (int64_t k = 0; k < pairs; k += kLanes) {
    const auto numbers = (__m512bh)load(row + k);
    Lanes& sum = sums[k / kLanes % 4];
    sum = (Lanes)_mm512_dpbf16_ps((__m512)sum, numbers, numbers);
  }
  return __builtin_sqrtf(sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3])));
}

void score_rows(void* context, int64_t task, int) {
  const Scores& s = *static_cast<Scores*>(context);
  const int64_t pairs = s.m.width / 2, end = smaller((task + 1) * kScoreTask, s.m.size);
  const TileRegisters registers;
  for (int64_t row = task * kScoreTask; row < end; row += kSquare) {
    const int64_t rows = smaller(kSquare, end - row);
    const Number* from = reinterpret_cast<const Number*>(s.m.memory + row * s.m.step);
    int64_t step = s.m.step / 2;
    const bool more = row + 2 * kSquare <= s.m.size;
    const Number* ahead = more ? from + kSquare * step : nullptr;
    // norms first: they read the rows in order, and leave them in the second-level cache
    for (int64_t i = 0; i < rows; ++i) s.norms[row + i] = norm_of(from + i * step, pairs);
    float sums[kSquare * kGroup * kTileRows];
    if (rows < kSquare) {
      for (int64_t i = 0; i < rows; ++i) {
        __builtin_memcpy(s.last + i * pairs, from + i * step, pairs * sizeof(Number));
      }
      from = s.last;
      step = pairs;
    }
    for (int64_t tile = 0; tile < s.tiles; tile += kGroup) {
      const int64_t tiles = smaller(kGroup, s.tiles - tile);
      const auto multiply = tiles == 1   ? multiply_rows<1>
                            : tiles == 2 ? multiply_rows<2>
                                         : multiply_rows<3>;
      multiply(from, step, s.packed + tile * kTileNumbers, s.tiles * kTileNumbers, s.steps,
               tile == 0 ? ahead : nullptr, sums, kGroup * kTileRows);
      for (int64_t i = 0; i < rows; ++i) {
        float* to = s.logits + (row + i) * s.step + tile * kTileRows;
        for (int64_t j = 0; j < tiles * kTileRows; j += kLanes) {
          store(to + j, load(sums + i * kGroup * kTileRows + j) * s.factor);
        }
      }
    }
  }
}

bool scores(const TileMemory& memory, const uint16_t* features, int64_t batch, float factor,
            float* logits, int64_t step, float* norms, int threads) {
  Scores s{.m = memory,
           .features = features,
           .batch = batch,
           .tiles = ceil_div(batch, kTileRows),
           .steps = memory.width / kTileInner,
           .factor = factor,
           .logits = logits,
           .step = step,
           .norms = norms};
  s.packed = allocate(s.steps * s.tiles * kTileNumbers);
  s.last = allocate(kSquare * memory.width / 2);
  const bool enough = s.packed != nullptr && s.last != nullptr;
  if (enough) {
    __builtin_memset(s.last, 0, kSquare * memory.width / 2 * sizeof(Number));
    parallel_run(threads, s.steps, pack_features, &s);
    parallel_run(threads, ceil_div(memory.size, kScoreTask), score_rows, &s);
  }
  free(s.packed);
  free(s.last);
  return enough;
}

struct Products {
  const TileMemory& m;
  const float* weights;
  int64_t batch, tiles, steps, step;  // tiles of samples; steps of 32 rows of the memory
  float* grad;
  Number* high;    // [step][tile](samples, pairs of rows): the weights, and what rounding them lost
  Number* low;     // nullptr: weights are rounded
  int64_t panel;   // columns of a task
  Number* panels;  // [step of the chunk][column tile](pairs of rows, columns) for each worker
  float* sums;     // (samples, panel) for each worker
};

__m512 rounded(__m512 value, __m256i* bits) {
  *bits = (__m256i)_mm512_cvtneps_pbh(value);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(*bits), 16));
}

Lanes paired(__m256i first, __m256i second) {
  const __m512i shifted = _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16);
  return (Lanes)_mm512_or_si512(_mm512_cvtepu16_epi32(first), shifted);
}

// The weights of 32 rows, in two parts.
void pack_weights(void* context, int64_t k, int) {
  const Products& p = *static_cast<Products*>(context);
  const int64_t first = k * kTileInner, rows = smaller(kTileInner, p.m.size - first);
  for (int64_t tile = 0; tile < p.tiles; ++tile) {
    Number high[kTileNumbers], low[kTileNumbers];
    for (int64_t pair = 0; pair < kTileRows; ++pair) {
      __m256i bits[2] = {}, rest[2] = {};
      for (int64_t i = 0; i < smaller(2, rows - 2 * pair); ++i) {
        const float* at = p.weights + (first + 2 * pair + i) * p.step + tile * kTileRows;
        // columns behind the last sample hold anything
        const auto kept = static_cast<__mmask16>(
            (uint32_t{1} << smaller(kTileRows, p.batch - tile * kTileRows)) - 1);
        const __m512 value = _mm512_maskz_loadu_ps(kept, at);
        rest[i] = (__m256i)_mm512_cvtneps_pbh(_mm512_sub_ps(value, rounded(value, &bits[i])));
      }
      store(high + pair * kTileRows, paired(bits[0], bits[1]));
      store(low + pair * kTileRows, paired(rest[0], rest[1]));
    }
    const int64_t at = (k * p.tiles + tile) * kTileNumbers;
    transpose_square(high, kTileRows, p.high + at, kTileRows);
    if (p.low != nullptr) transpose_square(low, kTileRows, p.low + at, kTileRows);
  }
}

// Pairs of rows [first, first + rows) of the memory, `tiles` times 16 columns from `column` on;
// rows behind the last one are zeros.
void pack_panel(const Products& p, int64_t first, int64_t rows, int64_t column, int64_t tiles,
                Number* to) {
  for (int64_t pair = 0; pair < ceil_div(rows, kTileInner) * kTileRows; ++pair) {
    const uint16_t* low = p.m.memory + (first + 2 * pair) * p.m.step + column;
    const int64_t present = rows - 2 * pair;
    Number* at = to + (pair / kTileRows * tiles * kTileRows + pair % kTileRows) * kTileRows;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      if (tile % 2 == 0) {
        const uint16_t* next = low + 2 * kAhead * p.m.step + tile * kTileRows;
        __builtin_prefetch(next, 0, 2);
        __builtin_prefetch(next + p.m.step, 0, 2);
      }
      __m256i a = {}, b = {};
      if (present > 0) __builtin_memcpy(&a, low + tile * kTileRows, sizeof(a));
      if (present > 1) __builtin_memcpy(&b, low + p.m.step + tile * kTileRows, sizeof(b));
      store(at + tile * kTileNumbers, paired(a, b));
    }
  }
}

void add_columns(void* context, int64_t task, int worker) {
  const Products& p = *static_cast<Products*>(context);
  const int64_t column = task * p.panel, columns = smaller(p.panel, p.m.width - column);
  const int64_t column_tiles = columns / kTileRows;
  Number* panel = p.panels + worker * p.panel * kChunk / 2;
  float* sums = p.sums + worker * p.tiles * kTileRows * p.panel;
  for (int64_t i = 0; i < p.tiles * kTileRows * p.panel; ++i) sums[i] = 0.0f;
  const TileRegisters registers;
  for (int64_t first = 0; first < p.m.size; first += kChunk) {
    const int64_t rows = smaller(kChunk, p.m.size - first), steps = ceil_div(rows, kTileInner);
    pack_panel(p, first, rows, column, column_tiles, panel);
    for (int64_t tile = 0; tile < p.tiles; tile += kGroup) {
      const int64_t tiles = smaller(kGroup, p.tiles - tile);
      const int64_t at = (first / kTileInner * p.tiles + tile) * kTileNumbers;
      const auto multiply = tiles == 1   ? multiply_columns<1>
                            : tiles == 2 ? multiply_columns<2>
                                         : multiply_columns<3>;
      for (int64_t j = 0; j < columns; j += kSquare) {
        multiply(p.high + at, p.low == nullptr ? nullptr : p.low + at, p.tiles * kTileNumbers,
                 panel + j / kTileRows * kTileNumbers, column_tiles * kTileNumbers, steps,
                 sums + tile * kTileRows * p.panel + j, p.panel);
      }
    }
  }
  for (int64_t i = 0; i < p.batch; ++i) {
    __builtin_memcpy(p.grad + i * p.m.width + column, sums + i * p.panel, columns * sizeof(float));
  }
}

bool products(const TileMemory& memory, const float* weights, int64_t batch, int64_t step,
              bool rounds, float* grad, int threads) {
  Products p{.m = memory,
             .weights = weights,
             .batch = batch,
             .tiles = ceil_div(batch, kTileRows),
             .steps = ceil_div(memory.size, kTileInner),
             .step = step,
             .grad = grad};
  const int64_t packed = p.steps * p.tiles * kTileNumbers;
  p.high = allocate(rounds ? packed : 2 * packed);
  p.low = rounds ? nullptr : p.high + packed;
  // long pieces of each row, as long as there is a task for each thread
  const int64_t share = ceil_div(memory.width, threads * kSquare) * kSquare;
  p.panel = larger(kLeastPanel, smaller(share, kWidestPanel));
  p.panels = allocate(threads * p.panel * kChunk / 2);
  p.sums = allocate(threads * p.tiles * kTileRows * p.panel);
  const bool enough = p.high != nullptr && p.panels != nullptr && p.sums != nullptr;
  if (enough) {
    parallel_run(threads, p.steps, pack_weights, &p);
    parallel_run(threads, ceil_div(memory.width, p.panel), add_columns, &p);
  }
  free(p.high);
  free(p.panels);
  free(p.sums);
  return enough;
}

}  // namespace

extern const NeighborhoodTiles neighborhood_tiles = {scores, products};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

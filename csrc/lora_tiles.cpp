// Adapted linear layer for several rows of bfloat16 on CPUs that multiply whole tiles (AMX). The
// rows of the weight are read once, in order, as they lie: tiles hold outputs by inputs, and the
// few inputs are what is packed. Sums, and the low-rank branch, are float32.
#include <immintrin.h>
#include <math.h>
#include <stdlib.h>

#include "lora.h"
#include "parallel.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#define FASTBRAIN_PAIRS
#include "tile.h"
// included after it, because they use its arithmetic
#include "lora_numbers.h"
#include "tile_registers.h"

constexpr int64_t kSquare = 2 * kTileRows;
// pairs of the inner axis that one task packs, and numbers of the weight in a task
constexpr int64_t kPackedPairs = 256, kTaskNumbers = 1 << 16;

struct Step {
  const LoraRows& l;
  int64_t groups;   // of kSquare rows of x
  int64_t outputs;  // of a task
  int64_t step;     // rows of a packed group: kTileRows if there are no more, or kSquare
  Number* x;        // [group](d_in / 2, step), with zeros behind the last row
  float* low;       // [group](rank, kSquare): scale · act(x A^T)
};

// Transposes pairs of a group of rows.
void pack_inputs(void* context, int64_t task, int) {
  const Step& s = *static_cast<Step*>(context);
  const LoraRows& l = s.l;
  const int64_t pairs = l.d_in / 2, parts = ceil_div(pairs, kPackedPairs);
  const int64_t group = task / parts, first = task % parts * kPackedPairs;
  const int64_t last = smaller(first + kPackedPairs, pairs);
  const Number* x = static_cast<const Number*>(l.x) + group * kSquare * pairs;
  Number* to = s.x + group * pairs * kSquare;
  for (int64_t begin = 0; begin < s.step; begin += kTileRows) {
    const int64_t rows = smaller(kTileRows, l.rows - group * kSquare - begin);
    for (int64_t k = first; k < last; k += kTileRows) {
      Number some[kTileRows * kTileRows] = {};
      for (int64_t i = 0; i < rows; ++i) {
        store(some + i * kTileRows, load(x + (begin + i) * pairs + k));
      }
      transpose_square(some, kTileRows, to + k * s.step + begin, s.step);
    }
  }
}

// The low-rank inputs of up to kTileRows rows of A.
void some_ranks(void* context, int64_t task, int) {
  const Step& s = *static_cast<Step*>(context);
  const LoraRows& l = s.l;
  const int64_t parts = ceil_div(l.rank, kTileRows), group = task / parts;
  const int64_t rank = task % parts * kTileRows, ranks = smaller(kTileRows, l.rank - rank);
  const int64_t pairs = l.d_in / 2;
  float* low = s.low + (group * l.rank + rank) * kSquare;
  const Number* a = static_cast<const Number*>(l.a) + rank * pairs;
  const TileRegisters registers(ranks);
  if (s.step == kTileRows) {
    multiply_column<1>(a, pairs, s.x, kTileRows, pairs);
    store_column<1>(low, kSquare);
  } else {
    multiply_strip(a, pairs, s.x + group * pairs * kSquare, kSquare, pairs);
    store_strip(low, kSquare);
  }
  for (int64_t i = 0; i < ranks * kSquare; ++i) low[i] = l.scale * activated(low[i], l.activation);
}

// Adds the low-rank branch and the bias to kSquare outputs by rows, kSquare apart, of which there
// are kTiles tiles, and writes them by rows.
template <int kTiles>
void finish(const Step& s, int64_t group, int64_t output, float* sums) {
  const LoraRows& l = s.l;
  const uint16_t* b = static_cast<const uint16_t*>(l.b) + output * l.rank;
  const uint16_t* bias = static_cast<const uint16_t*>(l.bias);
  const float* low = s.low + group * l.rank * kSquare;
  for (int64_t j = 0; j < kSquare; ++j) {
    float* sum = sums + j * kSquare;
    const float added = bias != nullptr ? number(bias[output + j]) : 0.0f;
    Lanes whole[kTiles];
    for (int i = 0; i < kTiles; ++i) whole[i] = load(sum + i * kLanes) + added;
    for (int64_t r = 0; r < l.rank; ++r) {
      const float factor = number(b[j * l.rank + r]);
      for (int i = 0; i < kTiles; ++i) whole[i] += factor * load(low + r * kSquare + i * kLanes);
    }
    for (int i = 0; i < kTiles; ++i) store(sum + i * kLanes, whole[i]);
  }
  float turned[kTiles * kTileRows * kSquare];
  for (int64_t i = 0; i < kTiles * kTileRows; i += kTileRows) {
    for (int64_t j = 0; j < kSquare; j += kTileRows) {
      transpose_square(sums + j * kSquare + i, kSquare, turned + i * kSquare + j, kSquare);
    }
  }
  const int64_t rows = smaller(kSquare, l.rows - group * kSquare);
  uint16_t* out = static_cast<uint16_t*>(l.out) + group * kSquare * l.d_out + output;
  for (int64_t i = 0; i < rows; ++i) {
    const float* from = turned + i * kSquare;
    const auto rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + kLanes), _mm512_loadu_ps(from));
    __builtin_memcpy(out + i * l.d_out, &rounded, sizeof(rounded));
  }
}

void some_outputs(void* context, int64_t task, int) {
  const Step& s = *static_cast<Step*>(context);
  const LoraRows& l = s.l;
  const int64_t pairs = l.d_in / 2, first = task * s.outputs;
  const int64_t last = smaller(first + s.outputs, l.d_out);
  const Number* all = static_cast<const Number*>(l.weight);
  float sums[2 * kSquare * kSquare];
  const TileRegisters registers;
  if (s.step == kTileRows) {
    int64_t output = first;
    for (; output + 2 * kSquare <= last; output += 2 * kSquare) {
      multiply_column<4>(all + output * pairs, pairs, s.x, kTileRows, pairs);
      store_column<4>(sums, kSquare);
      finish<1>(s, 0, output, sums);
      finish<1>(s, 0, output + kSquare, sums + kSquare * kSquare);
    }
    for (; output < last; output += kSquare) {
      multiply_column<2>(all + output * pairs, pairs, s.x, kTileRows, pairs);
      store_column<2>(sums, kSquare);
      finish<1>(s, 0, output, sums);
    }
    return;
  }
  const Run inner = {0, static_cast<int32_t>(l.d_in)};
  const float zeros[kSquare] = {};
  for (int64_t output = first; output < last; output += kSquare) {
    for (int64_t group = 0; group < s.groups; ++group) {
      start_square(zeros, 0);
      multiply_square(&inner, 1, all + output * pairs, pairs, s.x + group * pairs * kSquare,
                      kSquare);
      store_square(sums, kSquare);
      finish<2>(s, group, output, sums);
    }
  }
}

bool few(const LoraRows& l, int threads) {
  const int64_t pairs = l.d_in / 2, groups = ceil_div(l.rows, kSquare);
  const int64_t step = l.rows > kTileRows ? kSquare : kTileRows;
  const int64_t strip = kSquare * kSquare / step;  // outputs at once
  const int64_t outputs = strip * larger(1, kTaskNumbers / (strip * larger(1, l.d_in)));
  Step s{l, groups, outputs, step, nullptr, nullptr};
  s.x = allocate(groups * kSquare * (pairs + l.rank));
  if (s.x == nullptr) return false;
  s.low = s.x + groups * kSquare * pairs;
  parallel_run(threads, groups * ceil_div(pairs, kPackedPairs), pack_inputs, &s);
  parallel_run(threads, groups * ceil_div(l.rank, kTileRows), some_ranks, &s);
  parallel_run(threads, ceil_div(l.d_out, s.outputs), some_outputs, &s);
  free(s.x);
  return true;
}

}  // namespace

extern const Lora lora_tiles;
extern const Lora lora_tiles = {few};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

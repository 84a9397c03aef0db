// The nearest code with most of the work in products of bytes (AVX-512 VNNI), which this hardware
// does four times as fast as float32. See isa.h: no standard-library template is used here.
//
// With x = s_x q_x + e_x and c = s_c q_c + e_c, the score x · c - |c|² / 2 differs from
// s_x s_c (q_x · q_c) - |c|² / 2 by at most E = |e_x| max|c| + |s_x q_x| max|e_c|. A code with
// an approximate score more than 2 E below the best one cannot be the nearest. The few others are
// scored in float32, each sum in the order in which vq.cpp adds.
#include <immintrin.h>
#include <stdlib.h>

#include "parallel.h"
#include "vq.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#include "tile.h"
#include "vq_rows.h"
#include "vq_screen_bytes.h"
#include "vq_screen_tile.h"

// of a sum, relative to its terms, and of terms below the normal range
constexpr float kRounding = 0x1p-23f, kVanishing = 1e-33f;

// every group of codes starts without a threshold and keeps more survivors: a few groups only
constexpr int64_t kThreadTasks = 4;

struct Screening {
  const VqRows& rows;
  const VqCodes<float>& codes;
  int64_t* out;
  Plan plan;
  Header header;
  int64_t quads = 0, depth = 0, buffer_step = 0;
  float* buffers = nullptr;  // for each worker: block_tiles (quads, kLanes), a row, a square
  Tile* tiles = nullptr;     // block_tiles for each worker
  Found* found = nullptr;    // (groups, count)
};

void start_row(const Screening& s, int64_t index, float* line, int32_t* to, Tile& tile, int row) {
  const int64_t width = s.rows.width;
  widen(s.rows, row_of(s.rows, index), 0, width, line);
  const float scale = scale_of(largest(line, width));
  const Lengths lengths = quantise(line, width, scale, 0, to + row, kLanes);
  int32_t sum = 0;
  for (int64_t k = 0; k < s.quads; ++k) {
    int8_t bytes[kQuad];
    __builtin_memcpy(bytes, to + k * kLanes + row, sizeof(bytes));
    sum += bytes[0] + bytes[1] + bytes[2] + bytes[3];
  }
  const Header& h = s.header;
  const float error = lengths.error * h.longest + lengths.bytes * h.error;
  // of the exact score, of the approximate one and of the lengths themselves
  const float rounding = static_cast<float>(2 * width + 32) * kRounding;
  tile.start[row] = -kShift * sum;
  tile.factor[row] = scale * h.scale;
  tile.margin[row] = 2.0001f * error + rounding * (lengths.value * h.longest + h.half) + kVanishing;
  tile.best[row] = tile.threshold[row] = -kHuge;
  tile.count[row] = 0;
  if (!(tile.margin[row] < kHuge)) give_up(tile, row);
}

// The nearest of a row's survivors, each scored as vq.cpp scores it.
Found nearest(const Screening& s, const float* line, const int32_t* codes, int count,
              float* square) {
  const int64_t width = s.rows.width;
  Found best{-__builtin_inff(), 0};
  for (int first = 0; first < count; first += kLanes) {
    const int lanes = static_cast<int>(smaller(kLanes, count - first));
    Lanes sum = {};
    for (int i = 0; i < lanes; ++i) {
      const int64_t code = codes[first + i];
      const float* panel = s.codes.screen + kHeader + code / kColumns * panel_floats(width);
      sum[i] = panel[code % kColumns];
    }
    for (int64_t k = 0; k < width; k += kLanes) {
      for (int i = 0; i < lanes; ++i) {
        store(square + i * kLanes, load_some(s.codes.values + codes[first + i] * width, k, width));
      }
      transpose_square(square, kLanes, square, kLanes);
      for (int64_t j = 0; j < kLanes && k + j < width; ++j) {
        sum += line[k + j] * load(square + j * kLanes);
      }
    }
    // codes are in rising order, so the lowest of equal ones stays
    for (int i = 0; i < lanes; ++i) {
      if (sum[i] > best.score) best = {sum[i], codes[first + i]};
    }
  }
  return best;
}

Found settle(const Screening& s, int64_t index, Tile& tile, int row, float* line, float* square) {
  thin(tile, row);
  const int count = tile.count[row];
  const Found undecided{__builtin_inff(), static_cast<int32_t>(kUndecided)};
  if (count == 0 || count > kTooMany) return undecided;
  if (count == 1 && s.plan.groups == 1) return {0, tile.code[row][0]};
  widen(s.rows, row_of(s.rows, index), 0, s.rows.width, line);
  return nearest(s, line, tile.code[row], count, square);
}

void find(void* context, int64_t task, int worker) {
  const Screening& s = *static_cast<Screening*>(context);
  const Plan& plan = s.plan;
  const int64_t tile_words = s.quads * kLanes, step = panel_floats(s.rows.width);
  float* buffer = s.buffers + worker * s.buffer_step;
  int32_t* rows = reinterpret_cast<int32_t*>(buffer);
  float* line = buffer + plan.block_tiles * tile_words;
  float* square = line + s.depth;
  Tile* tiles = s.tiles + worker * plan.block_tiles;
  const int64_t group = task / plan.blocks, first = task % plan.blocks * plan.block_tiles * kRows;
  const int64_t count = smaller(plan.block_tiles * kRows, s.rows.count - first);
  const int64_t used = ceil_div(count, kRows);
  for (int64_t tile = 0; tile < used; ++tile) {
    const int64_t filled = smaller(kRows, count - tile * kRows);
    tiles[tile].open = static_cast<int32_t>(filled);
    for (int row = 0; row < filled; ++row) {
      start_row(s, first + tile * kRows + row, line, rows + tile * tile_words, tiles[tile], row);
    }
  }
  const int64_t panel_last = smaller((group + 1) * plan.panel_group, plan.panels);
  const int64_t chunk = used == 1 ? kChunk : 1;
  for (int64_t panel = group * plan.panel_group; panel < panel_last; panel += chunk) {
    for (int64_t tile = 0; tile < used; ++tile) {
      if (tiles[tile].open == 0) continue;
      scan_of(smaller(kRows, count - tile * kRows))(
          rows + tile * tile_words, s.codes.screen + kHeader + panel * step, step, s.quads,
          static_cast<int32_t>(panel * kColumns), smaller(chunk, panel_last - panel), tiles[tile]);
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    const Found found = settle(s, first + i, tiles[i / kRows], i % kRows, line, square);
    if (plan.groups > 1) {
      s.found[group * s.rows.count + first + i] = found;
    } else {
      s.out[row_of(s.rows, first + i)] = found.code;
    }
  }
}

bool lookup(const VqRows& rows, const VqCodes<float>& codes, int64_t* out, int threads) {
  Screening s{rows, codes, out, {}, {}};
  __builtin_memcpy(&s.header, codes.screen, sizeof(s.header));
  s.quads = ceil_div(rows.width, kQuad);
  s.depth = ceil_div(rows.width, kLanes) * kLanes;
  const Plan& plan = s.plan = plan_of(rows.count, s.depth, codes.count, threads, kThreadTasks);
  s.buffer_step = plan.block_tiles * s.quads * kLanes + s.depth + kLanes * kLanes;
  s.buffers = allocate(threads * s.buffer_step);
  s.tiles = static_cast<Tile*>(malloc(threads * plan.block_tiles * sizeof(Tile)));
  // the best of each group of codes, where there are several
  if (plan.groups > 1) {
    s.found = static_cast<Found*>(malloc(plan.groups * rows.count * sizeof(Found)));
  }
  const bool enough =
      s.buffers != nullptr && s.tiles != nullptr && (plan.groups == 1 || s.found != nullptr);
  if (enough) {
    parallel_run(threads, plan.blocks * plan.groups, find, &s);
    if (plan.groups > 1) join(plan, rows, s.found, out);
  }
  free(s.buffers);
  free(s.tiles);
  free(s.found);
  return enough;
}

}  // namespace

extern const VqScreen vq_screen = {floats, pack, lookup};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

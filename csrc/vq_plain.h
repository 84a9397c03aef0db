// A few rows against codes as they lie in memory, each code read once and never repacked. Included
// after vq_plain_tile.h by vq.cpp, inside the namespace of an instruction set.
//
// The lanes of a vector are parts of one product here, which rounds differently from the order in
// which vq_tile.h adds. With |c| and |x| a bound on the difference is known. A code with a score
// more than both bounds below the best one cannot be the nearest; the few others, mostly one, are
// scored again in the order of vq_tile.h, so that the result is the same bit for bit.

// of sums in either order, for each term; and of terms below the normal range
constexpr float kUnit = 0x1p-24f, kVanishing = 1e-33f;
// survivors of a row: beyond kMany they are thinned out
constexpr int kMany = 64, kTooMany = 48;
// bytes of codes that are worth a task of their own
constexpr int64_t kTaskBytes = 32 << 10;
// fewer products are made by one thread before a second one has woken up
constexpr int64_t kAloneProducts = 1 << 18;

// What one worker knows of a row.
struct Near {
  float least;  // lower bound of the best score
  int32_t count;
  float most[kMany];  // upper bounds of the survivors' scores
  int32_t code[kMany];
};

struct Plain {
  const VqRows& rows;
  const VqSource& codes;
  int64_t depth = 0, tiles = 0, blocks = 0, task_blocks = 0, worker_step = 0;
  float relative = 0;                    // error of a score over |x||c| and over |c|²
  float limit = 0, floor = 0, tiny = 0;  // of squares
  // parts of one allocation
  float* lines = nullptr;    // (tiles, tile rows, depth) and one more line
  float* lengths = nullptr;  // (tiles, kLanes): |x| of the row of each lane
  float* buffers = nullptr;  // for each worker: kLanes codes, bounds of tiles (tiles, kLanes)
  Near* near = nullptr;      // (workers, rows)
  bool* usual = nullptr;     // (workers) whether all values met are in the usual range
  float* largest = nullptr;  // (workers) square of the longest code
};

// Drops the survivors that a later code has excluded; false if too many are left.
static inline bool thin(Near& near) {
  int kept = 0;
  for (int i = 0; i < near.count; ++i) {
    near.most[kept] = near.most[i];
    near.code[kept] = near.code[i];
    kept += near.most[kept] >= near.least;
  }
  near.count = kept;
  return kept <= kTooMany;
}

// Keeps lanes of a tile with an upper bound that reaches the lower bound of their row, in the order
// of the codes.
template <int R>
static __attribute__((noinline)) bool keep(const Plain& p, Near* near, int64_t tile, int64_t code,
                                           Lanes most, Lanes error, float* bounds) {
  constexpr int kCodes = kLanes / R;
  for (int i = 0; i < R && tile * R + i < p.rows.count; ++i) {
    Near& row = near[tile * R + i];
    for (int j = 0; j < kCodes && code + j < p.codes.count; ++j) {
      const float top = most[i * kCodes + j];
      if (!(top >= row.least)) continue;
      row.most[row.count] = top;
      row.code[row.count] = static_cast<int32_t>(code + j);
      const float bottom = top - 2 * error[i * kCodes + j];
      row.least = bottom > row.least ? bottom : row.least;
      if (++row.count == kMany && !thin(row)) {
        row.count = 0;  // the whole search is given up after this block
        return false;
      }
    }
    for (int j = 0; j < kCodes; ++j) bounds[i * kCodes + j] = row.least;
  }
  return true;
}

// kLanes codes from `first` on, as numbers; zero beyond the last one and beyond the width.
static const float* codes_at(const Plain& p, int64_t first, float* buffer, int64_t& step) {
  const VqSource& c = p.codes;
  const int64_t there = smaller(kLanes, c.count - first);
  if (c.type == DType::kFloat32 && c.width == p.depth && there == kLanes) {
    step = c.width;
    return static_cast<const float*>(c.values) + first * c.width;
  }
  step = p.depth;
  const VqRows source{c.values, c.type, nullptr, c.count, c.width};
  for (int64_t j = 0; j < there; ++j) widen(source, first + j, 0, c.width, buffer + j * step);
  for (int64_t i = there * step; i < kLanes * step; ++i) buffer[i] = 0;
  return buffer;
}

template <int R>
static void scan_plain(void* context, int64_t task, int worker) {
  constexpr int kCodes = kLanes / R;
  const Plain& p = *static_cast<Plain*>(context);
  float* buffer = p.buffers + worker * p.worker_step;
  float* bounds = buffer + kLanes * p.depth;
  Near* near = p.near + worker * p.rows.count;
  Lanes longest = Lanes{} + p.largest[worker];
  Integers usual = Integers{} - 1;
  Integers lane;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) lane[i] = i % kCodes;
  const int64_t last = smaller((task + 1) * p.task_blocks, p.blocks);
  for (int64_t block = task * p.task_blocks; block < last && p.usual[worker]; ++block) {
    int64_t step;
    const float* codes = codes_at(p, block * kLanes, buffer, step);
    Lanes square, only;  // of one row, its products too
    if (R == 1) {
      squares_and_products_of(p.lines, codes, step, p.depth, square, only);
    } else {
      square = squares_of(codes, step, p.depth);
    }
    for (int64_t j = p.codes.count - block * kLanes; j < kLanes; ++j) square[j] = 1;
    usual &= (square < p.limit) & (square > p.floor);
    longest = square > longest ? square : longest;
    // the score is product · factor - half, with an error of at most |x| · of_row + of_code
    Lanes length;
    for (int j = 0; j < kLanes; ++j) length[j] = __builtin_sqrtf(square[j]);
    Lanes factor = Lanes{} + 1, half = square * 0.5f, of_row = length * p.relative;
    Lanes of_code = half * p.relative + kVanishing;
    if (!p.codes.euclidean) {
      factor = 1 / length;
      half = Lanes{};
      of_row = Lanes{} + p.relative;
      of_code = Lanes{} + kVanishing;
    }
    Lanes factors[R], halves[R], of_rows[R], of_codes[R];
#pragma GCC unroll 4
    for (int s = 0; s < R; ++s) {
      const Integers from = lane + s * kCodes;
      factors[s] = __builtin_shuffle(factor, from);
      halves[s] = __builtin_shuffle(half, from);
      of_rows[s] = __builtin_shuffle(of_row, from);
      of_codes[s] = __builtin_shuffle(of_code, from);
    }
    for (int64_t tile = 0; tile < p.tiles; ++tile) {
      const float* rows = p.lines + tile * R * p.depth;
      const Lanes row_length = load(p.lengths + tile * kLanes);
      for (int s = 0; s < R; ++s) {
        const Lanes product =
            R == 1 ? only : products_of<R>(rows, codes + s * kCodes * step, step, p.depth);
        const Lanes error = row_length * of_rows[s] + of_codes[s];
        const Lanes most = product * factors[s] - halves[s] + error;
        if (!any(most >= load(bounds + tile * kLanes))) continue;
        if (!keep<R>(p, near, tile, block * kLanes + s * kCodes, most, error,
                     bounds + tile * kLanes)) {
          p.usual[worker] = false;
        }
      }
    }
  }
  for (int i = 0; i < kLanes; ++i) {
    if (usual[i] == 0) p.usual[worker] = false;
    if (longest[i] > p.largest[worker]) p.largest[worker] = longest[i];
  }
}

// sum + a · b, rounded as a lane of vq_tile.h is: left to itself, the compiler may vectorise the
// products alone and round them before the sum.
static inline float added(float sum, float a, float b) {
#if defined(__FP_FAST_FMAF)
  return __builtin_fmaf(a, b, sum);
#else
  return sum + a * b;
#endif
}

// The nearest of a row's survivors, each scored as vq_tile.h scores it.
static int64_t settle(const Plain& p, int64_t row, int workers, float* line) {
  float least = -__builtin_inff();
  for (int w = 0; w < workers; ++w) {
    const Near& near = p.near[w * p.rows.count + row];
    least = near.least > least ? near.least : least;
  }
  int64_t left = 0, best = -1;
  float top = 0;
  const float* values = p.lines + row * p.depth;
  for (int pass = 0; pass < 2 && left != 1; ++pass) {
    left = 0;
    for (int w = 0; w < workers; ++w) {
      const Near& near = p.near[w * p.rows.count + row];
      for (int i = 0; i < near.count; ++i) {
        if (near.most[i] < least) continue;
        ++left;
        const int64_t code = near.code[i];
        if (pass == 0) {
          best = code;
          continue;
        }
        read_code(p.codes, code, line);
        float sum = p.codes.euclidean ? minus_half_square(line, p.codes.width) : 0;
        for (int64_t k = 0; k < p.codes.width; ++k) sum = added(sum, values[k], line[k]);
        if (left == 1 || sum > top || (sum == top && code < best)) {
          top = sum;
          best = code;
        }
      }
    }
  }
  return best;
}

template <int R>
static bool search_plain(Plain& p, int64_t* out, int threads) {
  p.tiles = ceil_div(p.rows.count, R);
  p.worker_step = (kLanes * (p.depth + p.tiles) + 15) / 16 * 16;
  const int64_t lines = ceil_div(p.tiles * R * p.depth + p.depth, 16) * 16;
  const int64_t lengths = ceil_div(p.tiles * kLanes, 16) * 16;
  const int64_t nears = threads * p.rows.count * static_cast<int64_t>(sizeof(Near)) / 4;
  p.lines = allocate(lines + lengths + threads * p.worker_step + nears + 2 * threads);
  bool found = p.lines != nullptr;
  if (found) {
    p.lengths = p.lines + lines;
    p.buffers = p.lengths + lengths;
    p.largest = p.buffers + threads * p.worker_step;
    p.near = reinterpret_cast<Near*>(p.largest + threads);
    p.usual = reinterpret_cast<bool*>(p.near + threads * p.rows.count);
    for (int64_t i = 0; i < p.tiles * R * p.depth + p.depth; ++i) p.lines[i] = 0;
    double largest = 0;
    for (int64_t i = 0; i < p.tiles * R; ++i) {
      double square = 0;
      if (i < p.rows.count) {
        float* line = p.lines + i * p.depth;
        widen(p.rows, row_of(p.rows, i), 0, p.rows.width, line);
        square = square_of(line, p.rows.width);
        found = found && square < p.limit;
        largest = square > largest ? square : largest;
      }
      for (int j = 0; j < kLanes / R; ++j) {
        p.lengths[i / R * kLanes + i % R * (kLanes / R) + j] =
            static_cast<float>(__builtin_sqrt(square)) * 1.0001f;
      }
    }
    // products of directions with tiny rows underflow
    found = found && (p.codes.euclidean || largest >= p.tiny);
    for (int w = 0; w < threads; ++w) {
      float* buffer = p.buffers + w * p.worker_step;
      for (int64_t i = 0; i < kLanes * p.depth; ++i) buffer[i] = 0;
      for (int64_t i = 0; i < p.tiles * kLanes; ++i) {
        const bool there = i / kLanes * R + i % kLanes / (kLanes / R) < p.rows.count;
        buffer[kLanes * p.depth + i] = there ? -__builtin_inff() : __builtin_inff();
      }
      for (int64_t i = 0; i < p.rows.count; ++i) {
        p.near[w * p.rows.count + i].least = -__builtin_inff();
        p.near[w * p.rows.count + i].count = 0;
      }
      p.usual[w] = true;
      p.largest[w] = 0;
    }
    if (found) parallel_run(threads, ceil_div(p.blocks, p.task_blocks), scan_plain<R>, &p);
    float longest = 0;
    for (int w = 0; w < threads; ++w) {
      found = found && p.usual[w];
      longest = p.largest[w] > longest ? p.largest[w] : longest;
    }
    found = found && (!p.codes.euclidean || longest >= p.tiny);
    for (int64_t i = 0; found && i < p.rows.count; ++i) {
      const int64_t code = settle(p, i, threads, p.lines + p.tiles * R * p.depth);
      out[row_of(p.rows, i)] = code;
      found = code >= 0;
    }
  }
  free(p.lines);
  return found;
}

bool plain(const VqRows& rows, const VqSource& codes, int power, int64_t* out, int threads) {
  Plain p{rows, codes};
  p.depth = ceil_div(rows.width, kLanes) * kLanes;
  p.blocks = ceil_div(codes.count, kLanes);
  p.relative = (1.5f * static_cast<float>(rows.width) + 32) * kUnit;
  p.limit = __builtin_ldexpf(1, 2 * power);
  // where the largest square is below it, all values may be so small that squares underflow
  p.tiny = 0x1p-80f * static_cast<float>(rows.width);
  // a direction needs a square that float32 holds
  p.floor = codes.euclidean ? -1 : 0x1p-80f;
  const int64_t bytes = kLanes * larger(1, rows.width) * static_cast<int64_t>(sizeof(float));
  const int64_t worth = ceil_div(kTaskBytes, bytes);
  if (ceil_div(rows.count, 4) * codes.count * rows.width < kAloneProducts) threads = 1;
  p.task_blocks = threads == 1 ? p.blocks : larger(worth, ceil_div(p.blocks, 8 * threads));
  if (rows.count == 1) return search_plain<1>(p, out, threads);
  if (rows.count == 2) return search_plain<2>(p, out, threads);
  return search_plain<4>(p, out, threads);
}

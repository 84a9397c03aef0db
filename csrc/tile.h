// The register tile of a matrix product: C (kRows, kColumns) = A · B over one block of the inner
// axis. Included by the sources that are compiled once for each instruction set, inside their
// namespace, so nothing here is shared between them. Numbers are float32; a source that defines
// FASTBRAIN_DOUBLE and includes another one is the same in float64. With FASTBRAIN_PAIRS, which
// needs AVX512_BF16, a number of A and of B holds the bits of two bfloat16, and C is float32.

#if defined(FASTBRAIN_DOUBLE)
typedef double Number;
typedef int64_t Integer;
#else
typedef float Number;
typedef int32_t Integer;  // of the size of a number
#endif

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kRows = 14;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kRows = 6;
#else
constexpr int kVectorBytes = 16, kRows = 4;
#endif
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Number));
constexpr int kColumns = 2 * kLanes;

typedef Number Lanes __attribute__((vector_size(kVectorBytes)));
typedef Integer Integers __attribute__((vector_size(kVectorBytes)));

static inline Lanes load(const Number* from) {
  Lanes value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

static inline void store(Number* to, Lanes value) { __builtin_memcpy(to, &value, sizeof(value)); }

// sum + factor · value, in every lane.
static inline __attribute__((always_inline)) Lanes multiply_add(Number factor, Lanes value,
                                                                Lanes sum) {
#if defined(FASTBRAIN_PAIRS)
  return (Lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(factor), (__m512bh)value);
#else
  return sum + factor * value;
#endif
}

// Sum of all lanes, by halves.
static inline __attribute__((always_inline)) Number sum_lanes(Lanes sum) {
  Number part[kLanes];
  store(part, sum);
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) part[i] += part[i + half];
  }
  return part[0];
}

// Bypasses the caches, for data not read again here: an ordinary store fetches the line first.
// `to` is aligned to the vector; a thread that has done so calls `end_stream` before others read.
static inline void stream(Number* to, Lanes value) {
#if defined(__AVX2__)
  // the instruction moves bytes, whatever their type
  typedef float Floats __attribute__((vector_size(kVectorBytes)));
  float* const at = reinterpret_cast<float*>(to);
#endif
#if defined(__AVX512F__)
  __builtin_ia32_movntps512(at, (Floats)value);
#elif defined(__AVX2__)
  __builtin_ia32_movntps256(at, (Floats)value);
#else
  store(to, value);
#endif
}

static inline void end_stream() {
#if defined(__AVX2__)
  __builtin_ia32_sfence();
#endif
}

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Aligned to a cache line; nullptr if memory ran out.
static inline Number* allocate(int64_t numbers) {
  const int64_t lines = ceil_div(numbers * static_cast<int64_t>(sizeof(Number)), 64);
  return static_cast<Number*>(aligned_alloc(64, static_cast<size_t>(larger(1, lines) * 64)));
}

// A square of kLanes x kLanes numbers, transposed: after log2(kLanes) rounds of interleaving row i
// with row i + kLanes / 2, element (r, c) is at (c, r).
static inline __attribute__((always_inline)) void transpose_square(const Number* from,
                                                                   int64_t from_step, Number* to,
                                                                   int64_t to_step) {
  Integers low, high;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    low[i] = i / 2 + i % 2 * kLanes;
    high[i] = low[i] + kLanes / 2;
  }
  Lanes row[kLanes], next[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) row[i] = load(from + i * from_step);
#pragma GCC unroll 4
  for (int round = 1; round < kLanes; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = __builtin_shuffle(row[i], row[i + kLanes / 2], low);
      next[2 * i + 1] = __builtin_shuffle(row[i], row[i + kLanes / 2], high);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) row[i] = next[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) store(to + i * to_step, row[i]);
}

// Added to the product: the bias (one value for each column) in the first block of the
// inner axis, the tile itself in later ones, or nothing.
enum class Start { kZero, kBias, kAdd };

// Destination of finished tiles: through the caches, or bypassing them.
enum class Finish { kStore, kStream };

// A section of the inner axis.
struct Run {
  int32_t first, depth;
};

// c[i][column + j] = Σ a(i, k) b(k, j) over the runs, for i < rows and j < columns, with
// a(i, k) = a[i * kRowStep + k * kInnerStep] and b(k, j) = b[k * b_step + j].
template <int kRowStep, int kInnerStep, int kTile = kRows>
static inline __attribute__((always_inline)) void multiply_tile(
    const Run* runs, int64_t count, const Number* a, const Number* b, int64_t b_step, Start start,
    const Number* bias, Number* const* c, int64_t column, int64_t rows, int64_t columns,
    Finish finish = Finish::kStore) {
  Lanes sum[kTile][2] = {};
  for (int64_t run = 0; run < count; ++run) {
    const Number* factors = a + runs[run].first * kInnerStep;
    const Number* from = b + runs[run].first * b_step;
    for (int64_t k = 0; k < runs[run].depth; ++k) {
      const Lanes left = load(from + k * b_step), right = load(from + k * b_step + kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kTile; ++i) {
        const Number factor = factors[i * kRowStep + k * kInnerStep];
        sum[i][0] = multiply_add(factor, left, sum[i][0]);
        sum[i][1] = multiply_add(factor, right, sum[i][1]);
      }
    }
  }
  if (rows == kTile && columns == kColumns) {
#pragma GCC unroll 16
    for (int i = 0; i < kTile; ++i) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        Number* to = c[i] + column + half * kLanes;
        if (start == Start::kBias) sum[i][half] += load(bias + half * kLanes);
        if (start == Start::kAdd) sum[i][half] += load(to);
        if (finish == Finish::kStream) {
          stream(to, sum[i][half]);
        } else {
          store(to, sum[i][half]);
        }
      }
    }
    return;
  }
  Number tile[kTile * kColumns];
#pragma GCC unroll 16
  for (int i = 0; i < kTile; ++i) {
    store(tile + i * kColumns, sum[i][0]);
    store(tile + i * kColumns + kLanes, sum[i][1]);
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      Number value = tile[i * kColumns + j];
      if (start == Start::kBias) value += bias[j];
      if (start == Start::kAdd) value += c[i][column + j];
      c[i][column + j] = value;
    }
  }
}

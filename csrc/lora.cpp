// Compiled once for each instruction set with FASTBRAIN_NAMESPACE set to its name. See isa.h: no
// standard-library template is used here.
//
// A decoding step reads every weight once with little arithmetic, so the weight is streamed in
// order and everything else stays in cache. The low-rank branch is added to the same sums: B
// extends the rows of W, act(x A^T) those of x.
#include "lora.h"

#include <math.h>
#include <stdlib.h>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "parallel.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#include "tile.h"
// included after the tile, because it uses its vectors
#include "widen.h"

// rows of the weight and of the input with sums in registers
constexpr int kOutputs = 4, kInputs = kLanes == 4 ? 2 : 4;
// numbers of the weight that one thread reads faster than two wake up
constexpr int64_t kTaskNumbers = 1 << 14, kAloneNumbers = 1 << 17;

// Inputs are grouped by kInputs rows, of which the last group may have fewer. In a group, runs of as
// many numbers as a product takes at once alternate between its rows, padded with zeros.
struct Step {
  const LoraRows& l;
  const void* x;        // (rows, depth), grouped
  float* low;           // (rows, rank), grouped: scale · act(x A^T)
  int64_t depth, rank;  // padded
  int64_t chunk;        // rows of the weight in a task
};

// Products of stored numbers T with inputs X, of so many numbers at once.
template <typename T, typename X>
struct Products {
  static constexpr int kNumbers = kLanes;
  typedef Lanes Value;
  static Lanes weight(const T* from) { return widen(from); }
  static Lanes weight(const T* from, int64_t count) { return widen_some(from, count); }
  static Lanes input(const X* from) { return widen(from); }
  static void add(Lanes& sum, Lanes w, Lanes x) { sum += w * x; }
};

#if defined(__AVX512BF16__)
// The instruction adds the products of a pair to a float32 sum.
template <>
struct Products<uint16_t, uint16_t> {
  static constexpr int kNumbers = 2 * kLanes;
  typedef __m512i Value;
  static Value weight(const uint16_t* from) { return _mm512_loadu_si512(from); }
  static Value weight(const uint16_t* from, int64_t count) {
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>((1u << count) - 1), from);
  }
  static Value input(const uint16_t* from) { return weight(from); }
  static void add(Lanes& sum, Value w, Value x) {
    sum = (Lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)x);
  }
};
#endif

// sum[n][r] += products of row n of `w` (N, width) with row r of the group `x`. With `kFetch`, what is
// at `ahead` is fetched meanwhile, two cache lines a step.
template <typename T, typename X, bool kFetch, int N, int R>
inline __attribute__((always_inline)) void multiply(const T* w, const X* x, int64_t width,
                                                    const char* ahead, Lanes (&sum)[N][R]) {
  typedef Products<T, X> P;
  const auto step = [&](int64_t k, auto&& weight) __attribute__((always_inline)) {
    typename P::Value value[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) value[r] = P::input(x + k * R + r * P::kNumbers);
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      const typename P::Value factor = weight(w + n * width + k);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) P::add(sum[n][r], factor, value[r]);
    }
  };
  int64_t k = 0;
  for (; k + P::kNumbers <= width; k += P::kNumbers) {
    if (kFetch) {
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + 64);
      ahead += 128;
    }
    step(k, [](const T* from) __attribute__((always_inline)) { return P::weight(from); });
  }
  if (k < width) {
    step(k, [&](const T* from) __attribute__((always_inline)) {
      return P::weight(from, width - k);
    });
  }
}

float number(float value) { return value; }

float number(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  __builtin_memcpy(&value, &wide, sizeof(value));
  return value;
}

void copy(float value, float* to) { *to = value; }

void copy(uint16_t bits, uint16_t* to) { *to = bits; }

void copy(uint16_t bits, float* to) { *to = number(bits); }

void round_to(float value, float* to) { *to = value; }

// To the nearest bfloat16, ties to even; a NaN stays one.
void round_to(float value, uint16_t* to) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
  *to = static_cast<uint16_t>(value == value ? rounded >> 16 : bits >> 16 | 0x40);
}

float activated(float value, LoraActivation activation) {
  switch (activation) {
    case LoraActivation::kGelu:
      return 0.5f * value * (1.0f + erff(value * 0.70710678f));
    case LoraActivation::kSilu:
      return value / (1.0f + expf(-value));
    case LoraActivation::kRelu:
      // a NaN stays one
      return value < 0.0f ? 0.0f : value;
    default:
      return value;
  }
}

// Place of an element in grouped inputs.
int64_t grouped(int64_t row, int64_t k, int64_t rows, int64_t depth, int numbers) {
  const int64_t first = row / kInputs * kInputs, size = smaller(kInputs, rows - first);
  return first * depth + k / numbers * numbers * size + (row - first) * numbers + k % numbers;
}

// The low-rank inputs of N rows of A and R rows of x.
template <typename T, typename X>
struct Ranks {
  template <int N, int R>
  static void run(const Step& s, int64_t row, int64_t rank) {
    const LoraRows& l = s.l;
    Lanes sum[N][R] = {};
    multiply<T, X, false>(static_cast<const T*>(l.a) + rank * l.d_in,
                          static_cast<const X*>(s.x) + row * s.depth, l.d_in, nullptr, sum);
    for (int n = 0; n < N; ++n) {
      for (int r = 0; r < R; ++r) {
        s.low[grouped(row + r, rank + n, l.rows, s.rank, kLanes)] =
            l.scale * activated(sum_lanes(sum[n][r]), l.activation);
      }
    }
  }
};

// N outputs of R rows of x.
template <typename T, typename X>
struct Outputs {
  template <int N, int R>
  static void run(const Step& s, int64_t row, int64_t output) {
    const LoraRows& l = s.l;
    const T* bias = static_cast<const T*>(l.bias);
    T* out = static_cast<T*>(l.out);
    Lanes sum[N][R] = {};
    const T* weight = static_cast<const T*>(l.weight) + output * l.d_in;
    const X* x = static_cast<const X*>(s.x) + row * s.depth;
    // each pass over these weights fetches a part of the next ones
    const int64_t part = row / kInputs * 2 * l.d_in;
    if (N == kOutputs && R == kInputs && l.rows > kInputs && part < N * l.d_in) {
      const T* next = weight + N * l.d_in + part;
      multiply<T, X, true>(weight, x, l.d_in, reinterpret_cast<const char*>(next), sum);
    } else {
      multiply<T, X, false>(weight, x, l.d_in, nullptr, sum);
    }
    multiply<T, float, false>(static_cast<const T*>(l.b) + output * l.rank,
                              static_cast<const float*>(s.low) + row * s.rank, l.rank, nullptr,
                              sum);
    for (int n = 0; n < N; ++n) {
      const float added = bias != nullptr ? number(bias[output + n]) : 0.0f;
      for (int r = 0; r < R; ++r) {
        round_to(sum_lanes(sum[n][r]) + added, out + (row + r) * l.d_out + output + n);
      }
    }
  }
};

template <typename Part, int N>
void all_inputs(const Step& s, int64_t first) {
  int64_t row = 0;
  for (; row + kInputs <= s.l.rows; row += kInputs) {
    Part::template run<N, kInputs>(s, row, first);
  }
  const int64_t left = s.l.rows - row;
  if (left == 3) Part::template run<N, 3>(s, row, first);
  if (left == 2) Part::template run<N, 2>(s, row, first);
  if (left == 1) Part::template run<N, 1>(s, row, first);
}

template <typename Part>
void all_between(const Step& s, int64_t first, int64_t last) {
  for (; first + kOutputs <= last; first += kOutputs) all_inputs<Part, kOutputs>(s, first);
  for (; first < last; ++first) all_inputs<Part, 1>(s, first);
}

template <typename T, typename X>
void some_ranks(void* context, int64_t task, int) {
  const Step& s = *static_cast<Step*>(context);
  all_between<Ranks<T, X>>(s, task * kOutputs, smaller((task + 1) * kOutputs, s.l.rank));
}

template <typename T, typename X>
void some_outputs(void* context, int64_t task, int) {
  const Step& s = *static_cast<Step*>(context);
  all_between<Outputs<T, X>>(s, task * s.chunk, smaller((task + 1) * s.chunk, s.l.d_out));
}

template <typename T, typename X>
bool run(const LoraRows& l, int threads) {
  constexpr int kNumbers = Products<T, X>::kNumbers;
  const int64_t depth = ceil_div(l.d_in, kNumbers) * kNumbers;
  const int64_t rank = ceil_div(l.rank, kLanes) * kLanes;
  // a single row that needs neither padding nor conversion is read where it is
  const bool copies = l.rows > 1 || depth != l.d_in || sizeof(T) != sizeof(X);
  const int64_t copied = copies ? ceil_div(l.rows * depth * sizeof(X), sizeof(float)) : 0;
  float* low = allocate(l.rows * rank + copied);
  if (low == nullptr) return false;
  for (int64_t i = 0; i < l.rows * rank; ++i) low[i] = 0.0f;
  Step s{l, l.x, low, depth, rank,
         kOutputs * larger(1, kTaskNumbers / (kOutputs * larger(1, l.d_in)))};
  if (copies) {
    X* to = reinterpret_cast<X*>(low + l.rows * rank);
    const T* x = static_cast<const T*>(l.x);
    for (int64_t row = 0; row < l.rows; ++row) {
      for (int64_t k = 0; k < depth; k += kNumbers) {
        X* at = to + grouped(row, k, l.rows, depth, kNumbers);
        const int64_t some = smaller(kNumbers, l.d_in - k);
        for (int64_t i = 0; i < some; ++i) copy(x[row * l.d_in + k + i], at + i);
        for (int64_t i = some; i < kNumbers; ++i) at[i] = 0;
      }
    }
    s.x = to;
  }
  const bool narrow = l.d_in * l.d_out * (l.rows + 3) / 4 < kAloneNumbers;
  const bool few_ranks = l.rank * l.d_in * (l.rows + 3) / 4 < kAloneNumbers;
  parallel_run(few_ranks ? 1 : threads, ceil_div(l.rank, kOutputs), some_ranks<T, X>, &s);
  parallel_run(narrow ? 1 : threads, ceil_div(l.d_out, s.chunk), some_outputs<T, X>, &s);
  free(low);
  return true;
}

// How products read inputs of bfloat16.
#if defined(__AVX512BF16__)
typedef uint16_t HalfInput;
#else
typedef float HalfInput;
#endif

bool few(const LoraRows& l, int threads) {
  return l.bfloat16 ? run<uint16_t, HalfInput>(l, threads) : run<float, float>(l, threads);
}

}  // namespace

extern const Lora lora;
extern const Lora lora = {few};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

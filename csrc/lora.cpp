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

struct Step {
  const LoraRows& l;
  const void* x;  // (rows, d_in) as the products read it
  float* low;     // (rows, rank): scale · act(x A^T)
  int64_t chunk;  // rows of the weight in a task
};

// Products of stored numbers T with inputs X, of so many numbers at once.
template <typename T, typename X>
struct Products {
  static constexpr int kNumbers = kLanes;
  typedef Lanes Value;
  static Lanes weight(const T* from) { return widen(from); }
  static Lanes weight(const T* from, int64_t count) { return widen_some(from, count); }
  static Lanes input(const X* from) { return widen(from); }
  static Lanes input(const X* from, int64_t count) { return widen_some(from, count); }
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
  static Value input(const uint16_t* from, int64_t count) { return weight(from, count); }
  static void add(Lanes& sum, Value w, Value x) {
    sum = (Lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)x);
  }
};
#endif

// sum[n][r] += products of row n of `w` with row r of `x`, both (., width).
template <typename T, typename X, int N, int R>
inline __attribute__((always_inline)) void multiply(const T* w, const X* x, int64_t width,
                                                    Lanes (&sum)[N][R]) {
  typedef Products<T, X> P;
  int64_t k = 0;
  for (; k + P::kNumbers <= width; k += P::kNumbers) {
    typename P::Value value[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) value[r] = P::input(x + r * width + k);
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      const typename P::Value weight = P::weight(w + n * width + k);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) P::add(sum[n][r], weight, value[r]);
    }
  }
  if (k == width) return;
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) {
    const typename P::Value weight = P::weight(w + n * width + k, width - k);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) P::add(sum[n][r], weight, P::input(x + r * width + k, width - k));
  }
}

float number(float value) { return value; }

float number(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  __builtin_memcpy(&value, &wide, sizeof(value));
  return value;
}

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

// The low-rank inputs of N rows of A and R rows of x.
template <typename T, typename X>
struct Ranks {
  template <int N, int R>
  static void run(const Step& s, int64_t row, int64_t rank) {
    const LoraRows& l = s.l;
    Lanes sum[N][R] = {};
    multiply(static_cast<const T*>(l.a) + rank * l.d_in,
             static_cast<const X*>(s.x) + row * l.d_in, l.d_in, sum);
    for (int n = 0; n < N; ++n) {
      for (int r = 0; r < R; ++r) {
        s.low[(row + r) * l.rank + rank + n] =
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
    multiply(static_cast<const T*>(l.weight) + output * l.d_in,
             static_cast<const X*>(s.x) + row * l.d_in, l.d_in, sum);
    multiply(static_cast<const T*>(l.b) + output * l.rank,
             static_cast<const float*>(s.low) + row * l.rank, l.rank, sum);
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
void run(Step& s, int threads) {
  const LoraRows& l = s.l;
  const bool narrow = l.d_in * l.d_out * (l.rows + 3) / 4 < kAloneNumbers;
  const bool few_ranks = l.rank * l.d_in * (l.rows + 3) / 4 < kAloneNumbers;
  s.chunk = kOutputs * larger(1, kTaskNumbers / (kOutputs * larger(1, l.d_in)));
  parallel_run(few_ranks ? 1 : threads, ceil_div(l.rank, kOutputs), some_ranks<T, X>, &s);
  parallel_run(narrow ? 1 : threads, ceil_div(l.d_out, s.chunk), some_outputs<T, X>, &s);
}

// How products read inputs of bfloat16.
#if defined(__AVX512BF16__)
typedef uint16_t HalfInput;
#else
typedef float HalfInput;
#endif

bool few(const LoraRows& l, int threads) {
  const bool widens = l.bfloat16 && sizeof(HalfInput) == sizeof(float);
  const int64_t inputs = l.rows * l.d_in, low = l.rows * l.rank;
  float* buffer = allocate(low + (widens ? inputs : 0));
  if (buffer == nullptr) return false;
  Step s{l, l.x, buffer, 0};
  if (widens) {
    const uint16_t* x = static_cast<const uint16_t*>(l.x);
    for (int64_t i = 0; i < inputs; ++i) buffer[low + i] = number(x[i]);
    s.x = buffer + low;
  }
  if (l.bfloat16) {
    run<uint16_t, HalfInput>(s, threads);
  } else {
    run<float, float>(s, threads);
  }
  free(buffer);
  return true;
}

}  // namespace

extern const Lora lora;
extern const Lora lora = {few};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

// Compiled once for each instruction set with FASTBRAIN_NAMESPACE set to its name. See isa.h: no
// standard-library template is used here.
//
// A decoding step reads every weight once with little arithmetic, so the weight is streamed in
// order and everything else stays in cache. The low-rank branch is added to the same sums: B
// extends the rows of W, act(x A^T) those of x.
#include "lora.h"

#include <math.h>
#include <stdlib.h>

#include "parallel.h"

namespace fastbrain::FASTBRAIN_NAMESPACE {
namespace {

#include "tile.h"
#include "widen.h"

// rows of the weight and of the input with sums in registers
constexpr int kOutputs = 4, kInputs = kLanes == 4 ? 2 : 4;
constexpr int64_t kTaskFloats = 1 << 14;

struct Step {
  const LoraRows& l;
  int64_t depth, rank;  // padded to whole lanes
  float* x;             // (rows, depth)
  float* low;           // (rows, rank): scale · act(x A^T)
  int64_t chunk;        // rows of the weight in a task
};

template <typename T, int N, int R>
inline __attribute__((always_inline)) void multiply(const T* w, const float* x, int64_t x_step,
                                                    int64_t width, Lanes (&sum)[N][R]) {
  int64_t k = 0;
  for (; k + kLanes <= width; k += kLanes) {
    Lanes value[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) value[r] = load(x + r * x_step + k);
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      const Lanes weight = widen(w + n * width + k);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[n][r] += weight * value[r];
    }
  }
  if (k == width) return;
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) {
    T end[kLanes] = {};
    __builtin_memcpy(end, w + n * width + k, (width - k) * sizeof(T));
    const Lanes weight = widen(end);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[n][r] += weight * load(x + r * x_step + k);
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

// N outputs of R inputs.
template <typename T, int N, int R>
void outputs(const Step& s, int64_t row, int64_t output) {
  const LoraRows& l = s.l;
  const T* bias = static_cast<const T*>(l.bias);
  T* out = static_cast<T*>(l.out);
  Lanes sum[N][R] = {};
  multiply(static_cast<const T*>(l.weight) + output * l.d_in, s.x + row * s.depth, s.depth, l.d_in,
           sum);
  multiply(static_cast<const T*>(l.b) + output * l.rank, s.low + row * s.rank, s.rank, l.rank, sum);
  for (int n = 0; n < N; ++n) {
    const float added = bias != nullptr ? number(bias[output + n]) : 0.0f;
    for (int r = 0; r < R; ++r) {
      round_to(sum_lanes(sum[n][r]) + added, out + (row + r) * l.d_out + output + n);
    }
  }
}

template <typename T, int N>
void all_inputs(const Step& s, int64_t output) {
  int64_t row = 0;
  for (; row + kInputs <= s.l.rows; row += kInputs) outputs<T, N, kInputs>(s, row, output);
  const int64_t left = s.l.rows - row;
  if (left == 3) outputs<T, N, 3>(s, row, output);
  if (left == 2) outputs<T, N, 2>(s, row, output);
  if (left == 1) outputs<T, N, 1>(s, row, output);
}

template <typename T>
void some_outputs(void* context, int64_t task, int) {
  const Step& s = *static_cast<Step*>(context);
  const int64_t last = smaller((task + 1) * s.chunk, s.l.d_out);
  int64_t output = task * s.chunk;
  for (; output + kOutputs <= last; output += kOutputs) all_inputs<T, kOutputs>(s, output);
  for (; output < last; ++output) all_inputs<T, 1>(s, output);
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

// One row of A against all inputs.
template <typename T>
void one_rank(void* context, int64_t rank, int) {
  const Step& s = *static_cast<Step*>(context);
  for (int64_t row = 0; row < s.l.rows; ++row) {
    Lanes sum[1][1] = {};
    multiply(static_cast<const T*>(s.l.a) + rank * s.l.d_in, s.x + row * s.depth, s.depth, s.l.d_in, sum);
    s.low[row * s.rank + rank] = s.l.scale * activated(sum_lanes(sum[0][0]), s.l.activation);
  }
}

template <typename T>
bool few_of(const LoraRows& l, int threads) {
  Step s{l,
         ceil_div(l.d_in, kLanes) * kLanes,
         ceil_div(l.rank, kLanes) * kLanes,
         nullptr,
         nullptr,
         kOutputs * larger(1, kTaskFloats / (kOutputs * larger(1, l.d_in)))};
  s.x = allocate(l.rows * (s.depth + s.rank));
  if (s.x == nullptr) return false;
  s.low = s.x + l.rows * s.depth;
  for (int64_t row = 0; row < l.rows; ++row) {
    float* to = s.x + row * s.depth;
    const T* from = static_cast<const T*>(l.x) + row * l.d_in;
    for (int64_t k = 0; k < s.depth; ++k) to[k] = k < l.d_in ? number(from[k]) : 0.0f;
    for (int64_t k = 0; k < s.rank; ++k) s.low[row * s.rank + k] = 0.0f;
  }
  // too little work to wake other threads
  const bool alone = l.rank * l.d_in * l.rows < 2 * kTaskFloats;
  parallel_run(alone ? 1 : threads, l.rank, one_rank<T>, &s);
  parallel_run(threads, ceil_div(l.d_out, s.chunk), some_outputs<T>, &s);
  free(s.x);
  return true;
}

bool few(const LoraRows& l, int threads) {
  return l.bfloat16 ? few_of<uint16_t>(l, threads) : few_of<float>(l, threads);
}

}  // namespace

extern const Lora lora;
extern const Lora lora = {few};

}  // namespace fastbrain::FASTBRAIN_NAMESPACE

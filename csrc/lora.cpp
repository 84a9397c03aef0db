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
// clang-format off: each builds on those before
#include "widen.h"
#include "lora_numbers.h"
#include "lora_products.h"
// clang-format on

// rows of the weight and of the input with sums in registers
constexpr int kOutputs = 4, kInputs = kLanes == 4 ? 2 : 4;
// numbers of the weight in a task: starting a smaller one costs more than an even share saves; and
// so many tasks for each thread, unless that makes them larger than the most
constexpr int64_t kLeastTask = 1 << 14, kMostTask = 1 << 17, kTasksEach = 8;
// fewer numbers are read by one thread before a second one has woken up
constexpr int64_t kAloneNumbers = 1 << 17;
// a block of the inputs takes a third of the first-level cache and serves so many rows of the
// weight
constexpr int64_t kBlockBytes = 1 << 14, kBlockOutputs = 32;

// Inputs are grouped by kInputs rows, of which the last group may have fewer. In a group, runs of
// as many numbers as a product takes at once alternate between its rows, padded with zeros.
struct Step {
  const LoraRows& l;
  const void* x;        // (rows, depth), grouped
  float* low;           // (rows, rank), grouped: scale · act(x A^T)
  float* sums;          // of each worker, a vector for each row of x and of the weight in a task
  int64_t depth, rank;  // padded
  int64_t block;        // numbers of the inner axis added at once, so that x stays in cache
  int64_t chunk;        // rows of the weight in a task
};

// Place of an element in grouped inputs.
int64_t grouped(int64_t row, int64_t k, int64_t rows, int64_t depth, int numbers) {
  const int64_t first = row / kInputs * kInputs, size = smaller(kInputs, rows - first);
  return first * depth + k / numbers * numbers * size + (row - first) * numbers + k % numbers;
}

// The low-rank inputs of N rows of A and R rows of x.
template <typename T, typename X>
struct Ranks {
  const Step& s;

  template <int N, int R>
  void run(int64_t row, int64_t rank) const {
    const LoraRows& l = s.l;
    Lanes sum[N][R] = {};
    multiply(static_cast<const T*>(l.a) + rank * l.d_in, l.d_in,
             static_cast<const X*>(s.x) + row * s.depth, l.d_in, static_cast<const T*>(nullptr),
             sum);
    for (int n = 0; n < N; ++n) {
      for (int r = 0; r < R; ++r) {
        s.low[grouped(row + r, rank + n, l.rows, s.rank, kLanes)] =
            l.scale * activated(sum_lanes(sum[n][r]), l.activation);
      }
    }
  }
};

// N outputs of R rows of x, of which a block of the inner axis is added to `sums`.
template <typename T, typename X>
struct Outputs {
  const Step& s;
  Lanes* sums;
  int64_t from;                 // first output of the task
  int64_t first, width, ahead;  // the block, and how far to fetch ahead

  template <int N, int R>
  void run(int64_t row, int64_t output) const {
    const LoraRows& l = s.l;
    const T* weight = static_cast<const T*>(l.weight) + output * l.d_in + first;
    const T* next = N == kOutputs && row < kInputs ? weight + ahead : nullptr;
    Lanes* kept = sums + ((output - from) * l.rows + row * N);
    Lanes sum[N][R] = {};
    if (first > 0) __builtin_memcpy(sum, kept, sizeof(sum));
    multiply(weight, l.d_in, static_cast<const X*>(s.x) + row * s.depth + first * R, width, next,
             sum);
    if (first + width < l.d_in) {
      __builtin_memcpy(kept, sum, sizeof(sum));
      return;
    }
    multiply(static_cast<const T*>(l.b) + output * l.rank, l.rank,
             static_cast<const float*>(s.low) + row * s.rank, l.rank,
             static_cast<const T*>(nullptr), sum);
    const T* bias = static_cast<const T*>(l.bias);
    T* out = static_cast<T*>(l.out);
    for (int n = 0; n < N; ++n) {
      const float added = bias != nullptr ? number(bias[output + n]) : 0.0f;
      for (int r = 0; r < R; ++r) {
        round_to(sum_lanes(sum[n][r]) + added, out + (row + r) * l.d_out + output + n);
      }
    }
  }
};

template <int N, typename Part>
void all_inputs(const Part& part, int64_t first) {
  const int64_t rows = part.s.l.rows;
  int64_t row = 0;
  for (; row + kInputs <= rows; row += kInputs) part.template run<N, kInputs>(row, first);
  const int64_t left = rows - row;
  if (left == 3) part.template run<N, 3>(row, first);
  if (left == 2) part.template run<N, 2>(row, first);
  if (left == 1) part.template run<N, 1>(row, first);
}

template <typename Part>
void all_between(const Part& part, int64_t first, int64_t last) {
  for (; first + kOutputs <= last; first += kOutputs) all_inputs<kOutputs>(part, first);
  for (; first < last; ++first) all_inputs<1>(part, first);
}

template <typename T, typename X>
void some_ranks(void* context, int64_t task, int) {
  const Step& s = *static_cast<Step*>(context);
  const Ranks<T, X> part{s};
  all_between(part, task * kOutputs, smaller((task + 1) * kOutputs, s.l.rank));
}

template <typename T, typename X>
void some_outputs(void* context, int64_t task, int worker) {
  const Step& s = *static_cast<Step*>(context);
  const int64_t from = task * s.chunk, last = smaller(from + s.chunk, s.l.d_out);
  Lanes* sums = reinterpret_cast<Lanes*>(s.sums) + worker * s.chunk * s.l.rows;
  for (int64_t first = 0; first == 0 || first < s.l.d_in; first += s.block) {
    const int64_t width = smaller(s.block, s.l.d_in - first);
    all_between(Outputs<T, X>{s, sums, from, first, width, kOutputs * s.l.d_in}, from, last);
  }
}

template <typename T, typename X>
bool run(const LoraRows& l, int threads) {
  constexpr int kNumbers = Products<T, X>::kNumbers;
  const int64_t depth = ceil_div(l.d_in, kNumbers) * kNumbers;
  const int64_t rank = ceil_div(l.rank, kLanes) * kLanes;
  Step s{l, l.x, nullptr, nullptr, depth, rank, 0, 0};
  // few rows need one pass over the inputs, and many take more time for their sums than blocks save
  s.block = larger(1, l.d_in);
  int64_t least = kOutputs;
  if (l.rows > kInputs && l.rows <= 2 * kInputs) {
    s.block = kNumbers * larger(16, kBlockBytes / (l.rows * kVectorBytes));
    least = kBlockOutputs;
  }
  const int64_t share = l.d_in * l.d_out / (kTasksEach * threads);
  const int64_t task = smaller(kMostTask, larger(kLeastTask, share));
  s.chunk = kOutputs * ceil_div(larger(least, task / larger(1, l.d_in)), kOutputs);
  const bool blocks = s.block < l.d_in;
  // a single row that needs neither padding nor conversion is read where it is
  const bool copies = l.rows > 1 || depth != l.d_in || sizeof(T) != sizeof(X);
  const int64_t lows = ceil_div(l.rows * rank, 16) * 16;
  const int64_t kept = blocks ? threads * s.chunk * l.rows * kLanes : 0;
  const int64_t copied = copies ? ceil_div(l.rows * depth * sizeof(X), sizeof(float)) : 0;
  s.low = allocate(lows + kept + copied);
  if (s.low == nullptr) return false;
  s.sums = s.low + lows;
  for (int64_t i = 0; i < l.rows * rank; ++i) s.low[i] = 0.0f;
  if (copies) {
    X* to = reinterpret_cast<X*>(s.sums + kept);
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
  free(s.low);
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

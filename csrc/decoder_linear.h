// Products of a few rows with streamed weights. Included by decoder.cpp in the namespace of its
// instruction set, after tile.h, widen.h and exponential.h.
//
// Every output of every row is a sum of its own in one fixed order, so that a row's result does
// not depend on how many rows there are.

// Input of a product: rows of `step` floats, a multiple of kLanes, zero behind the width.
struct Matrix {
  float* at;
  int64_t step;
};

// Rows of a weight that are multiplied at once, and bytes between what is multiplied of each and
// what is prefetched.
constexpr int kOutputs = 4;
constexpr int64_t kAheadBytes = 2048;

// Products of N rows of a weight, `width` apart, with R inputs. `ahead` is where the rows after
// them begin, or nullptr: then nothing of them is prefetched.
template <typename W, int N, int R>
static inline __attribute__((always_inline)) void multiply(const W* w, int64_t width,
                                                           const float* x, int64_t x_step,
                                                           const W* ahead, float (&found)[N][R]) {
  Lanes sum[N][R] = {};
  const auto add = [&](int64_t k, auto&& weight) __attribute__((always_inline)) {
    Lanes value[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) value[r] = load(x + r * x_step + k);
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      const Lanes factor = weight(w + n * width + k);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[n][r] += factor * value[r];
    }
  };
  const auto whole = [](const W* from) __attribute__((always_inline)) { return widen(from); };
  int64_t k = 0;
  const auto fetching = [&](int64_t last, const W* from) __attribute__((always_inline)) {
    for (; k + kLanes <= last; k += kLanes) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) __builtin_prefetch(from + n * width + k);
      add(k, whole);
    }
  };
  constexpr int64_t kAhead = kAheadBytes / sizeof(W);
  if (width > kAhead) fetching(width - kAhead, w + kAhead);
  if (ahead != nullptr) fetching(width, width > kAhead ? ahead + kAhead - width : ahead);
  for (; k + kLanes <= width; k += kLanes) add(k, whole);
  if (k < width) {
    add(k, [&](const W* from) __attribute__((always_inline)) {
      W end[kLanes] = {};
      __builtin_memcpy(end, from, (width - k) * sizeof(W));
      return widen(end);
    });
  }
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) found[n][r] = sum_lanes(sum[n][r]);
  }
}

// A linear layer applied to `count` rows.
struct Product {
  const DecoderLinear* l;
  Matrix x, low, out;  // low: scale · act(x A^T)
  int64_t count;
  bool add;  // to what `out` holds
};

// Rounded once where the machine can: the compiler chooses for each number of rows by itself.
static inline float scaled(float value, float scale, float bias) {
#if defined(__FMA__)
  return __builtin_fmaf(value, scale, bias);
#else
  return value * scale + bias;
#endif
}

template <typename W, int N, int R>
static void outputs_of(const Product& p, int64_t row, int64_t output, const W* ahead) {
  const DecoderLinear& l = *p.l;
  float found[N][R], branch[N][R];
  multiply<W, N, R>(static_cast<const W*>(l.weight) + output * l.d_in, l.d_in,
                    p.x.at + row * p.x.step, p.x.step, ahead, found);
  if (l.rank > 0) {
    multiply<float, N, R>(l.b + output * l.rank, l.rank, p.low.at + row * p.low.step, p.low.step,
                          nullptr, branch);
  }
  for (int n = 0; n < N; ++n) {
    const float scale = l.row_scale != nullptr ? l.row_scale[output + n] : 1.0f;
    const float bias = l.bias != nullptr ? l.bias[output + n] : 0.0f;
    for (int r = 0; r < R; ++r) {
      float value = scaled(found[n][r], scale, bias);
      if (l.rank > 0) value += branch[n][r];
      float* to = p.out.at + (row + r) * p.out.step + output + n;
      *to = p.add ? *to + value : value;
    }
  }
}

template <typename W, int N>
static void all_rows(const Product& p, int64_t output, const W* ahead) {
  constexpr int kInputs = kLanes == 4 ? 2 : 4;
  int64_t row = 0;
  for (; row + kInputs <= p.count; row += kInputs) {
    outputs_of<W, N, kInputs>(p, row, output, row == 0 ? ahead : nullptr);
  }
  for (; row < p.count; ++row) outputs_of<W, N, 1>(p, row, output, row == 0 ? ahead : nullptr);
}

template <typename W>
static void some_outputs_of(const Product& p, int64_t output, int64_t last) {
  for (; output + kOutputs <= last; output += kOutputs) {
    const bool more = output + 2 * kOutputs <= last;
    const W* next = static_cast<const W*>(p.l->weight) + (output + kOutputs) * p.l->d_in;
    all_rows<W, kOutputs>(p, output, more ? next : nullptr);
  }
  for (; output < last; ++output) all_rows<W, 1>(p, output, nullptr);
}

static void some_outputs(const Product& p, int64_t first, int64_t last) {
  switch (p.l->type) {
    case DecoderWeight::kFloat32:
      return some_outputs_of<float>(p, first, last);
    case DecoderWeight::kBfloat16:
      return some_outputs_of<uint16_t>(p, first, last);
    case DecoderWeight::kInt8:
      return some_outputs_of<int8_t>(p, first, last);
  }
}

static inline __attribute__((always_inline)) Lanes sigmoid(Lanes x) {
  const Lanes low = {}, bounded = x < -87.0f ? low - 87.0f : x;  // the exponential overflows
  return 1.0f / (1.0f + exp_lanes(-bounded));
}

// tanh to 1e-7 of 1; the exponential is bounded, so that no infinity is divided by another
static inline __attribute__((always_inline)) Lanes tanh_lanes(Lanes x) {
  const Lanes low = {}, bounded = x > 40.0f ? low + 40.0f : x < -40.0f ? low - 40.0f : x;
  const Lanes y = 1.0f - 2.0f / (1.0f + exp_lanes(bounded + bounded));
  return x == x ? y : x;
}

static inline __attribute__((always_inline)) Lanes activated(Lanes x, DecoderActivation kind) {
  const Lanes low = {};
  switch (kind) {
    case DecoderActivation::kGelu:
      for (int i = 0; i < kLanes; ++i) x[i] *= 0.5f * (1.0f + erff(x[i] * 0.70710678f));
      return x;
    case DecoderActivation::kSilu:
      return x == x ? x * sigmoid(x) : x;
    case DecoderActivation::kRelu:
      return x < low ? low : x;  // a NaN stays one
    case DecoderActivation::kGeluTanh:
      return 0.5f * x * (1.0f + tanh_lanes(0.7978845608f * (x + 0.044715f * x * x * x)));
    default:
      return x;
  }
}

static void activate(float* at, int64_t count, DecoderActivation kind, const float* factor) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t n = smaller(kLanes, count - i);
    Lanes value = {}, times = {};
    __builtin_memcpy(&value, at + i, n * sizeof(float));
    value = activated(value, kind);
    if (factor != nullptr) {
      __builtin_memcpy(&times, factor + i, n * sizeof(float));
      value *= times;
    }
    __builtin_memcpy(at + i, &value, n * sizeof(float));
  }
}

// Several layers of one input at once, which share a parallel section.
struct Products {
  Product part[3];
  int parts;
  int64_t chunk[3], tasks[3];
  DecoderActivation activation;  // of part 0; multiplied by part 1, if there is one
  bool gated, activates;
  float cap;
};

static void some_ranks(void* context, int64_t task, int) {
  const Products& all = *static_cast<Products*>(context);
  int part = 0;
  for (; task >= all.part[part].l->rank; ++part) task -= all.part[part].l->rank;
  const Product& p = all.part[part];
  const DecoderLinear& l = *p.l;
  for (int64_t row = 0; row < p.count; ++row) {
    float found[1][1];
    multiply<float, 1, 1>(l.a + task * l.d_in, l.d_in, p.x.at + row * p.x.step, p.x.step, nullptr,
                          found);
    const Lanes low = activated(Lanes{} + found[0][0], l.activation);
    p.low.at[row * p.low.step + task] = l.scale * low[0];
  }
}

static void some_tasks(void* context, int64_t task, int) {
  const Products& all = *static_cast<Products*>(context);
  int part = 0;
  if (!all.gated) {
    for (; task >= all.tasks[part]; ++part) task -= all.tasks[part];
  }
  const Product& p = all.part[part];
  const int64_t first = task * all.chunk[part], last = smaller(first + all.chunk[part], p.l->d_out);
  some_outputs(p, first, last);
  if (all.gated) some_outputs(all.part[1], first, last);
  for (int64_t row = 0; row < p.count; ++row) {
    float* at = p.out.at + row * p.out.step + first;
    if (all.activates) {
      const Product& q = all.part[1];
      activate(at, last - first, all.activation,
               all.gated ? q.out.at + row * q.out.step + first : nullptr);
    }
    if (all.cap > 0.0f) {
      for (int64_t i = 0; i < last - first; i += kLanes) {
        const int64_t n = smaller(kLanes, last - first - i);
        Lanes value = {};
        __builtin_memcpy(&value, at + i, n * sizeof(float));
        value = all.cap * tanh_lanes(value / all.cap);
        __builtin_memcpy(at + i, &value, n * sizeof(float));
      }
    }
  }
}

static void run(Products& all, int threads) {
  constexpr int64_t kTaskFloats = 1 << 14;
  int64_t ranks = 0, tasks = 0;
  for (int i = 0; i < all.parts; ++i) {
    const DecoderLinear& l = *all.part[i].l;
    all.chunk[i] = 8 * larger(1, kTaskFloats / (8 * larger(1, l.d_in)));
    all.tasks[i] = ceil_div(l.d_out, all.chunk[i]);
    ranks += l.rank;
    tasks += all.gated && i > 0 ? 0 : all.tasks[i];
  }
  if (ranks > 0) {
    const bool alone = ranks * all.part[0].l->d_in * all.part[0].count < 2 * kTaskFloats;
    parallel_run(alone ? 1 : threads, ranks, some_ranks, &all);
  }
  parallel_run(threads, tasks, some_tasks, &all);
}

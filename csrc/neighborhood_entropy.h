// Sums and weights of an entropy, in vectors of samples: every lane is a sample, every row of a
// block a column of its distribution. Included, as tile.h is, by the sources that are compiled once
// for each instruction set, inside their namespace.

typedef int32_t LaneBits __attribute__((vector_size(kLanes * sizeof(int32_t))));

// e^x to 1e-7, exactly 0 below -87 and so for -inf.
static inline __attribute__((always_inline)) Lanes exp_lanes(Lanes x) {
  const Lanes low = {}, bounded = x > -87.0f ? x : low - 87.0f;
  // adding 1.5 · 2^23 rounds to an integer, which is then in the low bits
  const Lanes shifted = bounded * 1.44269504f + 12582912.0f, whole = shifted - 12582912.0f;
  const Lanes r = (bounded - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r * r + r) + 1.0f;
  const Lanes scaled = (Lanes)((LaneBits)p + ((LaneBits)shifted << 23));
  return x > -87.0f ? scaled : low;
}

// ln x of positive normal numbers, to 1e-7.
static inline __attribute__((always_inline)) Lanes log_lanes(Lanes x) {
  constexpr int32_t kRootHalf = 0x3f3504f3;
  const LaneBits bits = (LaneBits)x - kRootHalf;
  const Lanes f = (Lanes)((bits & 0x007fffff) + kRootHalf) - 1.0f, z = f * f;
  const Lanes power = __builtin_convertvector(bits >> 23, Lanes);
  Lanes p = f * 7.0376836292e-2f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  p = p * f * z - power * 2.12194440e-4f;
  return (p - 0.5f * z) + f + power * 0.693359375f;
}

typedef double Doubles __attribute__((vector_size(kLanes * sizeof(double))));

// With logits s, Z = Σ e^s and p = e^s / Z, what a pass over a block sums and writes. Exponents are
// not shifted: logits of cosines are small, and rounding a difference would cost a digit.
enum class Pass {
  kMoments,         // Z and Σ e^s s
  kMomentsDual,     // and writes e^s and e^s (s - center)
  kSmoothed,        // with h = -ln(p + eps) and h' = h - p / (p + eps): Σ p h and Σ p h'
  kSmoothedDual,    // and writes p and p h'
  kExactWeights,    // writes the derivative p (Σ p s - s)
  kSmoothedWeights  // writes the derivative p (h' - Σ p h')
};

// What is known of each sample (lane) when a pass begins.
struct Known {
  float eps;
  const float* inv_sum;  // 1 / Z
  const float* mean;     // Σ p s or Σ p h', and what rounding that to float32 lost
  const float* mean_rest;
  const float* center;  // near Σ p s: what the second term of kMomentsDual is taken from
};

// A block is (rows, lanes) logits; the sums are added to `first` and `second`, (lanes) each.
template <Pass kPass>
static void sweep_as(float* block, float* dual, int64_t rows, int64_t lanes, const Known& known,
                     double* first, double* second) {
  constexpr bool kMoment = kPass == Pass::kMoments || kPass == Pass::kMomentsDual;
  constexpr bool kWeights = kPass == Pass::kExactWeights || kPass == Pass::kSmoothedWeights;
  constexpr bool kDual = kPass == Pass::kMomentsDual || kPass == Pass::kSmoothedDual;
  for (int64_t lane = 0; lane < lanes; lane += kLanes) {
    const Lanes zero = {}, inv_sum = kMoment ? zero : load(known.inv_sum + lane);
    const Lanes mean = kWeights ? load(known.mean + lane) : zero;
    const Lanes mean_rest = kWeights ? load(known.mean_rest + lane) : zero;
    const Lanes center = kPass == Pass::kMomentsDual ? load(known.center + lane) : zero;
    // in double: ln Z - Σ p s cancels in a peaked distribution
    Doubles sums[2] = {};
    for (int64_t row = 0; row < rows; ++row) {
      float* at = block + row * lanes + lane;
      const Lanes raw = load(at), e = exp_lanes(raw);
      // a masked column has weight 0, and 0 · -inf would be NaN
      const Lanes logit = raw > -88.0f ? raw : zero;
      Lanes term, other;
      if (kMoment) {
        term = e;
        other = e * (logit - center);
      } else if (kPass == Pass::kExactWeights) {
        term = other = e * inv_sum * ((mean - logit) + mean_rest);
      } else {
        const Lanes p = e * inv_sum, inside = p + known.eps, h = -log_lanes(inside);
        const Lanes slope = h - p / inside;
        term = kWeights ? p * ((slope - mean) - mean_rest) : p * h;
        other = p * slope;
        if (kDual) store(at, p);
      }
      if (kWeights || kPass == Pass::kMomentsDual) store(at, term);
      if (kDual) store(dual + row * lanes + lane, other);
      if (kWeights) continue;
      const Doubles wide = __builtin_convertvector(term, Doubles);
      sums[0] += wide;
      sums[1] += kMoment ? wide * __builtin_convertvector(logit, Doubles)
                         : __builtin_convertvector(other, Doubles);
    }
    if (kWeights) continue;
    for (int i = 0; i < kLanes; ++i) {
      first[lane + i] += sums[0][i];
      second[lane + i] += sums[1][i];
    }
  }
}

static void sweep(Pass pass, float* block, float* dual, int64_t rows, int64_t lanes,
                  const Known& known, double* first, double* second) {
  switch (pass) {
    case Pass::kMoments:
      return sweep_as<Pass::kMoments>(block, dual, rows, lanes, known, first, second);
    case Pass::kMomentsDual:
      return sweep_as<Pass::kMomentsDual>(block, dual, rows, lanes, known, first, second);
    case Pass::kSmoothed:
      return sweep_as<Pass::kSmoothed>(block, dual, rows, lanes, known, first, second);
    case Pass::kSmoothedDual:
      return sweep_as<Pass::kSmoothedDual>(block, dual, rows, lanes, known, first, second);
    case Pass::kExactWeights:
      return sweep_as<Pass::kExactWeights>(block, dual, rows, lanes, known, first, second);
    case Pass::kSmoothedWeights:
      return sweep_as<Pass::kSmoothedWeights>(block, dual, rows, lanes, known, first, second);
  }
}

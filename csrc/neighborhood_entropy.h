// Sums and weights of an entropy, in vectors of samples: every lane is a sample, every row of a
// block a column of its distribution. Included, as tile.h is, by the sources that are compiled once
// for each instruction set, inside their namespace.

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

// Inputs of a pass for each sample (lane).
struct Known {
  Number eps;
  const Number* inv_sum;  // 1 / Z
  const Number* mean;     // Σ p s or Σ p h', and the rounding error of that
  const Number* mean_rest;
  const Number* center;  // near Σ p s: center of the second term of kMomentsDual
};

// Stored as (4, lanes), in the order of the members.
static inline Known known_of(Number eps, const Number* stored, int64_t lanes) {
  return {eps, stored, stored + lanes, stored + 2 * lanes, stored + 3 * lanes};
}

static inline void learn_mean(Number* stored, int64_t lanes, int64_t lane, double mean) {
  Number* known = stored + lanes + lane;
  known[0] = static_cast<Number>(mean);
  known[lanes] = static_cast<Number>(mean - static_cast<double>(known[0]));
}

// A block is (rows, lanes) logits; the sums are added to `first` and `second`, (lanes) each.
template <Pass kPass>
static void sweep_as(Number* block, Number* dual, int64_t rows, int64_t lanes, const Known& known,
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
      Number* at = block + row * lanes + lane;
      const Lanes raw = load(at), e = exp_lanes(raw);
      // a masked column has weight 0, and 0 · -inf would be NaN
      const Lanes logit = raw > kLowest - 1 ? raw : zero;
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

static void sweep(Pass pass, Number* block, Number* dual, int64_t rows, int64_t lanes,
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

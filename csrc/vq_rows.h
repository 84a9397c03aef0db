// Reading rows, and sharing out a lookup. Included after tile.h by the sources of the nearest code,
// inside the namespace of an instruction set.

template <typename Element>
static inline void convert(const Element* from, int64_t count, Number* to) {
  for (int64_t k = 0; k < count; ++k) to[k] = static_cast<Number>(from[k]);
}

// The float of these bits.
static inline float float_of(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

// Elements [first, first + count) of a row, as numbers.
static inline void widen(const VqRows& rows, int64_t row, int64_t first, int64_t count,
                         Number* to) {
  const int64_t at = row * rows.width + first;
  const uint16_t* halves = static_cast<const uint16_t*>(rows.values) + at;
  switch (rows.type) {
    case DType::kFloat32:
      return convert(static_cast<const float*>(rows.values) + at, count, to);
    case DType::kFloat64:
      return convert(static_cast<const double*>(rows.values) + at, count, to);
    case DType::kBfloat16:
      for (int64_t k = 0; k < count; ++k) to[k] = float_of(static_cast<uint32_t>(halves[k]) << 16);
      return;
    case DType::kFloat16:
      for (int64_t k = 0; k < count; ++k) {
        // the exponent of a half, taken for one of a float, is 112 too small; that of infinity and
        // NaN has all bits set in both; the sign follows
        const uint32_t bits = (halves[k] & 0x7fffu) << 13;
        const bool finite = bits < 0x0f800000u;
        const float size = finite ? float_of(bits) * 0x1p112f : float_of(bits | 0x7f800000u);
        to[k] = __builtin_copysignf(size, float_of((halves[k] & 0x8000u) << 16));
      }
      return;
    default:
      return;  // the binding refuses the others
  }
}

typedef double Wide __attribute__((vector_size(kLanes * sizeof(double))));

// |c|² in double precision, the same at any position of the code.
static inline double square_of(const Number* code, int64_t width) {
  Wide square = {};
  int64_t k = 0;
  for (; k + kLanes <= width; k += kLanes) {
    const Wide value = __builtin_convertvector(load(code + k), Wide);
    square += value * value;
  }
  for (int64_t i = 0; k + i < width; ++i) {
    const double value = code[k + i];
    square[i] += value * value;
  }
  double sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += square[i];
  return sum;
}

static inline Number minus_half_square(const Number* code, int64_t width) {
  return static_cast<Number>(square_of(code, width) * -0.5);
}

// Scales a code to length one; zero stays zero.
static inline void normalise(Number* code, int64_t width) {
  Number largest = 0;
  for (int64_t k = 0; k < width; ++k) {
    const Number size = code[k] < 0 ? -code[k] : code[k];
    largest = size > largest ? size : largest;
  }
  if (!(largest > 0)) return;
#if defined(FASTBRAIN_DOUBLE)
  // by a power of two first, so that no square overflows or underflows
  int power;
  __builtin_frexp(largest, &power);
  for (int64_t k = 0; k < width; ++k) code[k] = __builtin_ldexp(code[k], -power);
#endif
  const double scale = 1 / __builtin_sqrt(square_of(code, width));
  for (int64_t k = 0; k < width; ++k) code[k] = static_cast<Number>(code[k] * scale);
}

// One code as a lookup scores it.
static inline void read_code(const VqSource& codes, int64_t code, Number* to) {
  const VqRows source{codes.values, codes.type, nullptr, codes.count, codes.width};
  widen(source, code, 0, codes.width, to);
  if (!codes.euclidean) normalise(to, codes.width);
}

static inline int64_t row_of(const VqRows& rows, int64_t i) {
  return rows.chosen != nullptr ? rows.chosen[i] : i;
}

// rows of a tile lie side by side in whole vectors
constexpr int kRowStep = (kRows + kLanes - 1) / kLanes * kLanes;

// rows of a task: few enough to stay in the first-level cache beside a panel while the codes
// stream by, and never more than the second level holds
constexpr int64_t kBlockNumbers = (256 << 10) / sizeof(Number), kMostTiles = 3;
constexpr int64_t kFewestPanels = 16;

struct Found {
  Number score;
  int32_t code;
};

// Tasks of a lookup: blocks of rows times groups of panels.
struct Plan {
  int64_t panels = 0, panel_group = 0, groups = 1, block_tiles = 0, blocks = 0;
};

static inline Plan plan_of(int64_t rows, int64_t depth, int64_t codes, int threads,
                           int64_t thread_tasks) {
  Plan p;
  const int64_t tiles = ceil_div(rows, kRows);
  p.panels = ceil_div(codes, kColumns);
  p.block_tiles = larger(1, smaller(kMostTiles, kBlockNumbers / larger(1, depth * kRowStep)));
  p.block_tiles = larger(1, smaller(p.block_tiles, tiles));
  p.blocks = ceil_div(tiles, p.block_tiles);
  // too few tasks to share evenly: split the codes too, at the price of packing rows again
  if (threads > 1 && p.blocks > 0) {
    p.groups =
        smaller(ceil_div(p.panels, kFewestPanels), ceil_div(thread_tasks * threads, p.blocks));
  }
  p.panel_group = ceil_div(p.panels, larger(1, p.groups));
  p.groups = ceil_div(p.panels, p.panel_group);
  return p;
}

// The best of each row over the groups of codes, found (groups, rows); the lowest of equal ones.
static inline void join(const Plan& plan, const VqRows& rows, const Found* found, int64_t* out) {
  for (int64_t i = 0; i < rows.count; ++i) {
    Found best = found[i];
    for (int64_t group = 1; group < plan.groups; ++group) {
      const Found& other = found[group * rows.count + i];
      if (other.score > best.score) best = other;
    }
    out[row_of(rows, i)] = best.code;
  }
}

// Reading rows, and sharing out a lookup. Included after tile.h by the sources of the nearest code,
// inside the namespace of an instruction set.

// Elements [first, first + count) of a row, as floats.
static inline void widen(const VqRows& rows, int64_t row, int64_t first, int64_t count, float* to) {
  const int64_t at = row * rows.width + first;
  if (rows.type == VqType::kFloat32) {
    __builtin_memcpy(to, static_cast<const float*>(rows.values) + at, count * sizeof(float));
    return;
  }
  const uint16_t* from = static_cast<const uint16_t*>(rows.values) + at;
  if (rows.type == VqType::kBfloat16) {
    for (int64_t k = 0; k < count; ++k) {
      const uint32_t bits = static_cast<uint32_t>(from[k]) << 16;
      __builtin_memcpy(to + k, &bits, sizeof(bits));
    }
    return;
  }
  for (int64_t k = 0; k < count; ++k) {
    // the exponent of a half, taken for one of a float, is 112 too small
    const uint32_t size = (from[k] & 0x7fffu) << 13, sign = (from[k] & 0x8000u) << 16;
    float value;
    __builtin_memcpy(&value, &size, sizeof(size));
    value *= 0x1p112f;
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof(bits));
    bits |= sign;
    __builtin_memcpy(to + k, &bits, sizeof(bits));
  }
}

// -|c|² / 2 in double precision, the same wherever the code stands.
static inline float minus_half_square(const float* code, int64_t width) {
  typedef double Wide __attribute__((vector_size(kLanes * sizeof(double))));
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
  return static_cast<float>(sum * -0.5);
}

static inline int64_t row_of(const VqRows& rows, int64_t i) {
  return rows.chosen != nullptr ? rows.chosen[i] : i;
}

// rows of a task: few enough to stay in the first-level cache beside a panel while the codes
// stream by, and never more than the second level holds
constexpr int64_t kBlockFloats = 1 << 16, kMostTiles = 3;
constexpr int64_t kTasksPerThread = 16, kFewestPanels = 16;

struct Found {
  float score;
  int32_t code;
};

// Tasks of a lookup: blocks of rows times groups of panels.
struct Plan {
  int64_t panels = 0, panel_group = 0, groups = 1, block_tiles = 0, blocks = 0;
};

static inline Plan plan_of(int64_t rows, int64_t depth, int64_t codes, int threads) {
  Plan p;
  const int64_t tiles = ceil_div(rows, kRows);
  p.panels = ceil_div(codes, kColumns);
  p.block_tiles = larger(1, smaller(kMostTiles, kBlockFloats / larger(1, depth * kLanes)));
  p.block_tiles = larger(1, smaller(p.block_tiles, tiles));
  p.blocks = ceil_div(tiles, p.block_tiles);
  // too few tasks to share evenly: split the codes too, at the price of packing rows again
  if (threads > 1 && p.blocks > 0) {
    p.groups =
        smaller(ceil_div(p.panels, kFewestPanels), ceil_div(kTasksPerThread * threads, p.blocks));
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

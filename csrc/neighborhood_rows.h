// A chunk of the memory as numbers, blocked over the inner axis so that a register tile steps over
// rows by a constant. Included, as tile.h is, by the sources that are compiled once for each
// instruction set, inside their namespace.

constexpr int64_t kInner = 256;
// off a power of two: rows of a tile would otherwise share the sets of the first-level cache
constexpr int64_t kStep = kInner + 64 / static_cast<int64_t>(sizeof(Number));
// rows of a tile of samples where kRows would waste more
constexpr int kFewRows = kRows > 8 ? 8 : 4;
// of squared norms, as half precision leaves them: twice that of a norm
constexpr float kNormTolerance = 4e-2f;

static inline int64_t bytes_of(DType stored) {
  return stored == DType::kFloat64 ? 8 : stored == DType::kFloat32 ? 4 : 2;
}

static inline int64_t row_numbers(int64_t depth, int64_t chunk_rows) {
  return ceil_div(depth, kInner) * chunk_rows * kStep;
}

// Row (row, k) lands at [k / kInner][row][k % kInner], zero up to a multiple of kColumns; rows from
// `count` to `end` are zero: a tile reads them, and its results there are not used.
template <typename Source, typename Type = typename Source::Type>
static void unpack_as(const Type* from_rows, int64_t from_step, int64_t width, int64_t count,
                      int64_t end, int64_t chunk_rows, Number* to, Number* norms) {
  const int64_t whole = width / kLanes * kLanes, depth = ceil_div(width, kColumns) * kColumns;
  for (int64_t row = 0; row < count; ++row) {
    const Type* from = from_rows + row * from_step;
    Lanes squares[2] = {};
    for (int64_t inner = 0; inner < depth; inner += kInner) {
      Number* at = to + (inner / kInner * chunk_rows + row) * kStep;
      const int64_t full = smaller(kInner, whole - inner), end = smaller(kInner, depth - inner);
      int64_t k = 0;
      for (; k + kColumns <= full; k += kColumns) {
        const Lanes left = Source::lanes(from + inner + k);
        const Lanes right = Source::lanes(from + inner + k + kLanes);
        squares[0] += left * left;
        squares[1] += right * right;
        store(at + k, left);
        store(at + k + kLanes, right);
      }
      for (; k < end; k += kLanes) {
        const Lanes value = some_lanes<Source>(from + inner + k, width - inner - k);
        squares[0] += value * value;
        store(at + k, value);
      }
    }
    const Lanes both = squares[0] + squares[1];
    Number total = 0.0f;
    for (int i = 0; i < kLanes; ++i) total += both[i];
    if (norms != nullptr) norms[row] = total;
  }
  for (int64_t row = count; row < end; ++row) {
    for (int64_t k = 0; k < depth; ++k) {
      to[(k / kInner * chunk_rows + row) * kStep + k % kInner] = 0.0f;
    }
  }
}

// Rows [first, first + count) of the memory, and their squared norms.
static void unpack_rows(const Neighborhood<Number>& p, int64_t first, int64_t count,
                        int64_t chunk_rows, Number* to, Number* norms) {
  as_stored(p.stored, [&]<typename Source>(Source) {
    const auto* from = static_cast<const typename Source::Type*>(p.memory) + first * p.memory_step;
    const int64_t end = ceil_div(count, kRows) * kRows;
    unpack_as<Source>(from, p.memory_step, p.width, count, end, chunk_rows, to, norms);
  });
}

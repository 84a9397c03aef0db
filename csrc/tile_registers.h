// Products of a square of 2 × 2 tile registers (AMX): C (32, 32) in float32 += A · B, where A and B
// hold pairs of bfloat16 as in tile.h. Included after it by sources that are compiled for AMX.

constexpr int64_t kTileRows = 16;
// bfloat16 numbers of the inner axis in one step
constexpr int64_t kTileInner = 32;

// Configures all registers of this thread as 16 rows of 64 bytes while it lives, those of a strip
// with fewer rows, and then leaves them as they were: the products of torch configure theirs too.
class TileRegisters {
 public:
  explicit TileRegisters(int64_t strip_rows = kTileRows) {
    _tile_storeconfig(before_);
    alignas(64) uint8_t wanted[64] = {};
    wanted[0] = 1;
    for (int i = 0; i < 8; ++i) {
      wanted[16 + 2 * i] = 64;
      wanted[48 + i] = kTileRows;
    }
    wanted[48] = wanted[49] = wanted[52] = static_cast<uint8_t>(strip_rows);
    _tile_loadconfig(wanted);
  }
  ~TileRegisters() {
    if (before_[0] == 0) {
      _tile_release();
    } else {
      _tile_loadconfig(before_);
    }
  }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;

 private:
  alignas(64) uint8_t before_[64];
};

// Registers 0 to 3 are the square C, row by row; `step` floats from row to row, 0 to repeat one.
static inline __attribute__((always_inline)) void start_square(const float* c, int64_t step) {
  const size_t bytes = static_cast<size_t>(step) * sizeof(float);
  _tile_loadd(0, c, bytes);
  _tile_loadd(1, c + kTileRows, bytes);
  _tile_loadd(2, c + kTileRows * step, bytes);
  _tile_loadd(3, c + kTileRows * step + kTileRows, bytes);
}

static inline __attribute__((always_inline)) void store_square(float* c, int64_t step) {
  const size_t bytes = static_cast<size_t>(step) * sizeof(float);
  _tile_stored(0, c, bytes);
  _tile_stored(1, c + kTileRows, bytes);
  _tile_stored(2, c + kTileRows * step, bytes);
  _tile_stored(3, c + kTileRows * step + kTileRows, bytes);
}

// Adds the products over the runs, which count bfloat16 numbers in whole steps: a (32, inner / 2),
// b (inner / 2, 32).
static inline __attribute__((always_inline)) void multiply_square(const Run* runs, int64_t count,
                                                                  const Number* a, int64_t a_step,
                                                                  const Number* b, int64_t b_step) {
  const size_t a_bytes = static_cast<size_t>(a_step) * sizeof(Number);
  const size_t b_bytes = static_cast<size_t>(b_step) * sizeof(Number);
  for (int64_t run = 0; run < count; ++run) {
    const int64_t first = runs[run].first / 2, last = first + runs[run].depth / 2;
    for (int64_t k = first; k < last; k += kTileInner / 2) {
      _tile_loadd(4, a + k, a_bytes);
      _tile_loadd(6, b + k * b_step, b_bytes);
      _tile_loadd(7, b + k * b_step + kTileRows, b_bytes);
      _tile_loadd(5, a + kTileRows * a_step + k, a_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
}

// The same for a strip of at most 16 rows: C (rows, 32), registers 0 and 1, = a · b.
static inline __attribute__((always_inline)) void multiply_strip(const Number* a, int64_t a_step,
                                                                 const Number* b, int64_t b_step,
                                                                 int64_t pairs) {
  const size_t a_bytes = static_cast<size_t>(a_step) * sizeof(Number);
  const size_t b_bytes = static_cast<size_t>(b_step) * sizeof(Number);
  _tile_zero(0);
  _tile_zero(1);
  for (int64_t k = 0; k < pairs; k += kTileInner / 2) {
    _tile_loadd(4, a + k, a_bytes);
    _tile_loadd(6, b + k * b_step, b_bytes);
    _tile_loadd(7, b + k * b_step + kTileRows, b_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
  }
}

static inline __attribute__((always_inline)) void store_strip(float* c, int64_t step) {
  const size_t bytes = static_cast<size_t>(step) * sizeof(float);
  _tile_stored(0, c, bytes);
  _tile_stored(1, c + kTileRows, bytes);
}

// The same for kTiles tiles of rows and one of columns: C (16 kTiles, 16), registers 0 to 3.
template <int kTiles>
static inline __attribute__((always_inline)) void multiply_column(const Number* a, int64_t a_step,
                                                                  const Number* b, int64_t b_step,
                                                                  int64_t pairs) {
  const size_t a_bytes = static_cast<size_t>(a_step) * sizeof(Number);
  const size_t b_bytes = static_cast<size_t>(b_step) * sizeof(Number);
  const Number* const second = a + kTileRows * a_step;
  const Number* const third = second + kTileRows * a_step;
  const Number* const fourth = third + kTileRows * a_step;
  _tile_zero(0);
  if constexpr (kTiles > 1) _tile_zero(1);
  if constexpr (kTiles > 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < pairs; k += kTileInner / 2) {
    _tile_loadd(6, b + k * b_step, b_bytes);
    _tile_loadd(4, a + k, a_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTiles > 1) {
      _tile_loadd(5, second + k, a_bytes);
      _tile_dpbf16ps(1, 5, 6);
    }
    if constexpr (kTiles > 2) {
      _tile_loadd(4, third + k, a_bytes);
      _tile_loadd(5, fourth + k, a_bytes);
      _tile_dpbf16ps(2, 4, 6);
      _tile_dpbf16ps(3, 5, 6);
    }
  }
}

template <int kTiles>
static inline __attribute__((always_inline)) void store_column(float* c, int64_t step) {
  const size_t bytes = static_cast<size_t>(step) * sizeof(float);
  _tile_stored(0, c, bytes);
  if constexpr (kTiles > 1) _tile_stored(1, c + kTileRows * step, bytes);
  if constexpr (kTiles > 2) {
    _tile_stored(2, c + 2 * kTileRows * step, bytes);
    _tile_stored(3, c + 3 * kTileRows * step, bytes);
  }
}

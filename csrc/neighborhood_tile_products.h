// The two products of neighborhood_tiles.cpp on tile registers. Included there, inside the
// namespace of the instruction set.

// Registers 0 to 5 are the sums of two times 16 rows by kTiles times 16 samples. The rows from
// `ahead` on, if any, are fetched meanwhile.
template <int kTiles>
void multiply_rows(const Number* rows, int64_t step, const Number* packed, int64_t packed_step,
                   int64_t steps, const Number* ahead, float* to, int64_t to_step) {
  const size_t row_bytes = static_cast<size_t>(step) * sizeof(Number);
  const size_t to_bytes = static_cast<size_t>(to_step) * sizeof(float);
  constexpr size_t kLine = 64;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (int64_t k = 0; k < steps; ++k) {
    const Number* a = rows + k * kTileRows;
    const Number* b = packed + k * packed_step;
    if (ahead != nullptr) {
      for (int64_t i = 0; i < kSquare; ++i) {
        __builtin_prefetch(ahead + i * step + k * kTileRows, 0, 2);
      }
    }
    _tile_loadd(6, a, row_bytes);
    _tile_loadd(7, b, kLine);
    _tile_dpbf16ps(0, 6, 7);
    if (kTiles > 1) {
      _tile_loadd(7, b + kTileNumbers, kLine);
      _tile_dpbf16ps(1, 6, 7);
    }
    if (kTiles > 2) {
      _tile_loadd(7, b + 2 * kTileNumbers, kLine);
      _tile_dpbf16ps(2, 6, 7);
    }
    _tile_loadd(6, a + kTileRows * step, row_bytes);
    if (kTiles > 2) {
      _tile_dpbf16ps(5, 6, 7);
      _tile_loadd(7, b + kTileNumbers, kLine);
    }
    if (kTiles > 1) {
      _tile_dpbf16ps(4, 6, 7);
      _tile_loadd(7, b, kLine);
    }
    _tile_dpbf16ps(3, 6, 7);
  }
  float* below = to + kTileRows * to_step;
  _tile_stored(0, to, to_bytes);
  _tile_stored(3, below, to_bytes);
  if (kTiles > 1) {
    _tile_stored(1, to + kTileRows, to_bytes);
    _tile_stored(4, below + kTileRows, to_bytes);
  }
  if (kTiles > 2) {
    _tile_stored(2, to + 2 * kTileRows, to_bytes);
    _tile_stored(5, below + 2 * kTileRows, to_bytes);
  }
}

// Adds to a square of kTiles times 16 samples by 32 columns the products over `steps` of the rows.
template <int kTiles>
void multiply_columns(const Number* high, const Number* low, int64_t a_step, const Number* b,
                      int64_t b_step, int64_t steps, float* sums, int64_t panel) {
  constexpr size_t kLine = 64;
  const size_t bytes = static_cast<size_t>(panel) * sizeof(float);
  const int64_t next = kTileRows * panel;
  _tile_loadd(0, sums, bytes);
  _tile_loadd(1, sums + kTileRows, bytes);
  if (kTiles > 1) {
    _tile_loadd(2, sums + next, bytes);
    _tile_loadd(3, sums + next + kTileRows, bytes);
  }
  if (kTiles > 2) {
    _tile_loadd(4, sums + 2 * next, bytes);
    _tile_loadd(5, sums + 2 * next + kTileRows, bytes);
  }
  for (int64_t k = 0; k < steps; ++k) {
    const Number* const parts[2] = {high, low};
    for (const Number* part : parts) {
      if (part == nullptr) break;
      const Number* a = part + k * a_step;
      const Number* left = b + k * b_step;
      const Number* right = left + kTileNumbers;
      _tile_loadd(7, left, kLine);
      _tile_loadd(6, a, kLine);
      _tile_dpbf16ps(0, 6, 7);
      if (kTiles > 1) {
        _tile_loadd(6, a + kTileNumbers, kLine);
        _tile_dpbf16ps(2, 6, 7);
      }
      if (kTiles > 2) {
        _tile_loadd(6, a + 2 * kTileNumbers, kLine);
        _tile_dpbf16ps(4, 6, 7);
      }
      _tile_loadd(7, right, kLine);
      if (kTiles > 2) {
        _tile_dpbf16ps(5, 6, 7);
        _tile_loadd(6, a + kTileNumbers, kLine);
      }
      if (kTiles > 1) {
        _tile_dpbf16ps(3, 6, 7);
        _tile_loadd(6, a, kLine);
      }
      _tile_dpbf16ps(1, 6, 7);
    }
  }
  _tile_stored(0, sums, bytes);
  _tile_stored(1, sums + kTileRows, bytes);
  if (kTiles > 1) {
    _tile_stored(2, sums + next, bytes);
    _tile_stored(3, sums + next + kTileRows, bytes);
  }
  if (kTiles > 2) {
    _tile_stored(4, sums + 2 * next, bytes);
    _tile_stored(5, sums + 2 * next + kTileRows, bytes);
  }
}

// The memory as a stream of chunks: logits, sums and products of each. Included, as tile.h is, by
// the sources that are compiled once for each instruction set, inside their namespace.

// A slot is a fixed range of chunks: its sums and gradients do not depend on the worker.
struct Stream {
  const Neighborhood<Number>& problem;
  int64_t lanes, depth, chunk_rows, chunks, slots, tile_rows, tile_batch, others_rows, samples_rows;
  Number* packed;        // features over the temperature, [panel][width][samples of the panel]
  Number* workspace;     // [chunk][row][lane]; nullptr: scratch holds what one chunk needs
  Number* rows;          // one chunk for each worker, see neighborhood_rows.h
  Number* scratch;       // (2, chunk_rows, lanes) for each worker
  Number* gradients;     // (slots, products, tile_batch, depth)
  double* sums;          // (slots, 2, lanes)
  double *left, *right;  // (lanes) factors of the two products in the gradient
  Number* known;         // (4, lanes), see Known
  Number* others;        // rows of the other columns, as in neighborhood_rows.h
  Number* samples;       // features likewise, for the derivative of the others
  Number* extra;         // (others_rows, lanes) logits of the other columns
  Number* nearby;        // (tile_batch, depth) gradient through them
  int64_t* refused;      // (slots) first row with a norm other than 0 or 1, or kDone
  Pass pass;
  bool scores;  // compute them, or read them from the workspace
  int products;
};

static Known known_of(const Stream& s) { return known_of(s.problem.eps, s.known, s.lanes); }

// c (kTile, kVectors · kLanes) = or += a · b over `depth`.
template <int kTile, int kVectors>
static inline __attribute__((always_inline)) void tile(int64_t depth, const Number* a,
                                                       int64_t a_row, int64_t a_inner,
                                                       const Number* b, int64_t b_step, Number* c,
                                                       int64_t c_step, bool add) {
  Lanes sum[kTile][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    Lanes right[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) right[v] = load(b + k * b_step + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kTile; ++i) {
      const Number factor = a[i * a_row + k * a_inner];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[i][v] += factor * right[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kTile; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      Number* to = c + i * c_step + v * kLanes;
      store(to, add ? sum[i][v] + load(to) : sum[i][v]);
    }
  }
}

// Logits of kRows rows, which begin at `rows` and repeat after `block_step` for each kInner.
static void score_tile(const Stream& s, const Number* rows, int64_t block_step, Number* to) {
  for (int64_t inner = 0; inner < s.depth; inner += kInner) {
    const Number* a = rows + inner / kInner * block_step;
    const int64_t depth = smaller(kInner, s.problem.width - inner);
    for (int64_t lane = 0; lane < s.lanes; lane += kColumns) {
      const Number* panel = s.packed + lane * s.problem.width;
      if (lane + kColumns <= s.lanes) {
        tile<kRows, 2>(depth, a, kStep, 1, panel + inner * kColumns, kColumns, to + lane, s.lanes,
                       inner > 0);
      } else {
        tile<kRows, 1>(depth, a, kStep, 1, panel + inner * kLanes, kLanes, to + lane, s.lanes,
                       inner > 0);
      }
    }
  }
}

// Adds weights (count, lanes), transposed, times kColumns columns of the rows to a gradient.
static void add_product(const Stream& s, const Number* rows, int64_t block_step, int64_t count,
                        int64_t column, const Number* weights, Number* gradient, bool add) {
  const Number* b = rows + column / kInner * block_step + column % kInner;
  for (int64_t i = 0; i < s.tile_batch; i += s.tile_rows) {
    Number* to = gradient + i * s.depth + column;
    if (s.tile_rows == kRows) {
      tile<kRows, 2>(count, weights + i, 1, s.lanes, b, kStep, to, s.depth, add);
    } else {
      tile<kFewRows, 2>(count, weights + i, 1, s.lanes, b, kStep, to, s.depth, add);
    }
  }
}

// Prefetches the rows of the next chunk while this one is multiplied.
static void prefetch(const Stream& s, int64_t first, int64_t count) {
  const Neighborhood<Number>& p = s.problem;
  const int64_t bytes = bytes_of(p.stored);
  for (int64_t row = first; row < smaller(first + count, p.size); ++row) {
    const char* from = static_cast<const char*>(p.memory) + row * p.memory_step * bytes;
    for (int64_t byte = 0; byte < p.width * bytes; byte += 64)
      __builtin_prefetch(from + byte, 0, 2);
  }
}

// Sets the logits of masked rows of the memory, and of each sample's own row, to -inf.
static void mask(const Stream& s, int64_t first, int64_t count, const Number* norms,
                 Number* block) {
  const Neighborhood<Number>& p = s.problem;
  for (int64_t row = 0; row < count; ++row) {
    if (norms[row] != 0) continue;
    for (int64_t lane = 0; lane < s.lanes; ++lane) block[row * s.lanes + lane] = -INFINITY;
  }
  for (int64_t i = 0; i < p.batch; ++i) {
    const int64_t row = p.indices[i] - first;
    if (row < 0 || row >= count) continue;
    Number* at = block + row * s.lanes;
    if (p.own >= 0) {
      for (int64_t lane = 0; lane < s.lanes; ++lane) at[lane] = -INFINITY;
    } else {
      at[i] = -INFINITY;
    }
  }
}

static void run_slot(void* context, int64_t slot, int worker) {
  const Stream& s = *static_cast<Stream*>(context);
  const Neighborhood<Number>& p = s.problem;
  Number* rows = s.rows + worker * row_numbers(s.depth, s.chunk_rows);
  const int64_t block_numbers = s.chunk_rows * s.lanes, block_step = s.chunk_rows * kStep;
  Number* scratch = s.scratch + worker * 2 * block_numbers;
  double* sums = s.sums + slot * 2 * s.lanes;
  for (int64_t i = 0; i < 2 * s.lanes; ++i) sums[i] = 0.0;
  const int64_t begin = slot * s.chunks / s.slots, end = (slot + 1) * s.chunks / s.slots;
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    const int64_t first = chunk * s.chunk_rows, count = smaller(s.chunk_rows, p.size - first);
    Number* block = s.workspace != nullptr ? s.workspace + chunk * block_numbers : scratch;
    Number norms[kMostRows + kRows];
    if (s.scores || s.products > 0) unpack_rows(p, first, count, s.chunk_rows, rows, norms);
    if (s.scores) {
      for (int64_t row = 0; row < count; ++row) {
        // written so that a NaN is an error
        if (norms[row] != 0 && !(__builtin_fabs(norms[row] - 1) <= kNormTolerance)) {
          s.refused[slot] = first + row;
          return;
        }
      }
      for (int64_t row = 0; row < count; row += kRows) {
        prefetch(s, first + s.chunk_rows + row, kRows);
        score_tile(s, rows + row * kStep, block_step, block + row * s.lanes);
      }
      mask(s, first, count, norms, block);
    }
    Number* dual = scratch + block_numbers;
    sweep(s.pass, block, dual, count, s.lanes, known_of(s), sums, sums + s.lanes);
    if (s.products == 0) continue;
    const int64_t size = s.tile_batch * s.depth;
    const int64_t share = ceil_div(s.chunk_rows * kColumns, s.depth);
    Number* gradient = s.gradients + slot * s.products * size;
    for (int64_t column = 0; column < s.depth; column += kColumns) {
      if (!s.scores) prefetch(s, first + s.chunk_rows + column / kColumns * share, share);
      for (int i = 0; i < s.products; ++i) {
        add_product(s, rows, block_step, count, column, i == 0 ? block : dual, gradient + i * size,
                    chunk > begin);
      }
    }
  }
}

// Derivative of one sample: through the other columns, and the first product of all slots times
// `left` plus the second times `right`; both contain one factor for each sample.
static void reduce_sample(void* context, int64_t sample, int) {
  const Stream& s = *static_cast<Stream*>(context);
  const Neighborhood<Number>& p = s.problem;
  const int64_t size = s.tile_batch * s.depth, row = sample * s.depth;
  const Number scale = p.inv_temperature / static_cast<Number>(p.batch);
  const double factors[2] = {s.left[sample], s.right[sample]};
  Number* to = p.grad_features + sample * p.width;
  for (int64_t column = 0; column < p.width; column += kLanes) {
    Lanes value = load(s.nearby + row + column);
    for (int product = 0; product < s.products; ++product) {
      const Number* at = s.gradients + product * size + row + column;
      Lanes sum = {};
      for (int64_t slot = 0; slot < s.slots; ++slot) sum += load(at + slot * s.products * size);
      value += sum * static_cast<Number>(factors[product]);
    }
    value *= scale;
    if (column + kLanes <= p.width) {
      store(to + column, value);
    } else {
      for (int64_t k = column; k < p.width; ++k) to[k] = value[k - column];
    }
  }
}

static void score_others(void* context, int64_t task, int) {
  const Stream& s = *static_cast<Stream*>(context);
  const Neighborhood<Number>& p = s.problem;
  const int64_t first = task * kRows, count = smaller(kRows, p.extras - first);
  Number* to = s.extra + first * s.lanes;
  score_tile(s, s.others + first * kStep, s.others_rows * kStep, to);
  for (int64_t row = 0; row < count; ++row) {
    const int64_t sample = p.own < 0 ? -1 : first + row - p.own;
    if (sample >= 0 && sample < p.batch) to[row * s.lanes + sample] = -INFINITY;
  }
}

// Gradient of kColumns elements of all features through the other columns; their logits have
// been replaced by weights.
static void pull_features(void* context, int64_t task, int) {
  const Stream& s = *static_cast<Stream*>(context);
  add_product(s, s.others, s.others_rows * kStep, s.problem.extras, task * kColumns, s.extra,
              s.nearby, false);
}

// Gradient of kRows of the other columns.
static void pull_others(void* context, int64_t task, int) {
  const Stream& s = *static_cast<Stream*>(context);
  const Neighborhood<Number>& p = s.problem;
  const int64_t first = task * kRows, count = smaller(kRows, p.extras - first);
  const Number scale = p.inv_temperature / static_cast<Number>(p.batch);
  Number part[kRows * kColumns];
  for (int64_t column = 0; column < p.width; column += kColumns) {
    const Number* b = s.samples + column / kInner * s.samples_rows * kStep + column % kInner;
    tile<kRows, 2>(p.batch, s.extra + first * s.lanes, s.lanes, 1, b, kStep, part, kColumns, false);
    for (int64_t row = 0; row < count; ++row) {
      Number* to = p.grad_others + (first + row) * p.width + column;
      for (int64_t k = 0; k < smaller(kColumns, p.width - column); ++k) {
        to[k] = part[row * kColumns + k] * scale;
      }
    }
  }
}

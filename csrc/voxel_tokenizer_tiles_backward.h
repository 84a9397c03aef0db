// Gradient of a bfloat16 weight by products of tiles over pairs of samples. Included by
// voxel_tokenizer_tiles.cpp inside its namespace.

// Blocks: the paired patches of a chunk of samples stay in the second-level cache.
constexpr int64_t kGradInner = 256, kGradRows = 512, kGradPairs = kGradRows / 2;
// off a power of two, as kStep is
constexpr int64_t kGradStep = kGradInner + kColumns + 16, kPairStep = kGradPairs + 16;

struct Backward {
  GradientSource from;
  float* out;
  int64_t inner;
  Slices slices;
  Number* patches;  // one (kGradPairs, kGradStep) for each worker
  Number* grads;    // one (kSquare, kPairStep) for each worker
};

// Gradients of kSquare features: (features, pairs), with zeros behind the last feature.
void transpose_gradients(const Bfloat16* const* from, int32_t count, int64_t feature,
                         int64_t features, Number* to) {
  Number rows[kTileRows * kLanes];
  for (int32_t i = 0; i < count; i += kTileInner) {
    const int32_t inside = static_cast<int32_t>(smaller(kTileInner, count - i));
    for (int half = 0; half < 2; ++half) {
      const int64_t begin = half * kTileRows;
      const int64_t columns = larger(0, smaller(kTileRows, features - begin));
      pair_gradients(from + i, inside, feature + begin, columns, rows);
      for (int64_t j = ceil_div(inside, 2) * kLanes; j < kTileRows * kLanes; ++j) rows[j] = 0.0f;
      transpose_square(rows, kLanes, to + begin * kPairStep + i / 2, kPairStep);
    }
  }
}

// One slice of the inner axis and one group of features; pairs of samples are summed in a fixed
// order.
void accumulate(void* context, int64_t task, int worker) {
  const Backward& g = *static_cast<Backward*>(context);
  const VoxelSource& s = g.from.source;
  Number* patches = g.patches + worker * kGradPairs * kGradStep;
  Number* grads = g.grads + worker * kSquare * kPairStep;
  const int64_t first = task % g.slices.count * g.slices.rows;
  const int64_t last = smaller(first + g.slices.rows, s.frames * s.rows);
  const int64_t width = (last - first) * s.width, column = first * s.width;
  const int64_t feature_first = task / g.slices.count * g.slices.tile_group * kSquare;
  const int64_t feature_last =
      smaller(feature_first + g.slices.tile_group * kSquare, g.from.features);
  const float zeros[kSquare] = {};
  float edge[kSquare * kColumns];
  const TileRegisters registers;
  bool begun = false;
  int64_t sample = 0;
  do {
    const Bfloat16* from[kGradRows];
    const int32_t count =
        pack_pairs<kGradRows, kGradStep>(g.from, first, last, sample, patches, from);
    const int64_t pairs = ceil_div(count, 2), whole = ceil_div(count, kTileInner) * kTileRows;
    for (int64_t i = pairs * kGradStep; i < whole * kGradStep; ++i) patches[i] = 0.0f;
    const Run all = {0, static_cast<int32_t>(2 * whole)};
    for (int64_t feature = feature_first; feature < feature_last; feature += kSquare) {
      const int64_t rows = smaller(kSquare, feature_last - feature);
      transpose_gradients(from, count, feature, rows, grads);
      for (int64_t k = 0; k < width; k += kColumns) {
        const int64_t columns = smaller(kColumns, width - k);
        float* out = g.out + feature * g.inner + column + k;
        const bool inside = rows == kSquare && columns == kColumns;
        float* sum = inside ? out : edge;
        const int64_t step = inside ? g.inner : kColumns;
        if (begun && !inside) {
          for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < columns; ++j) edge[i * kColumns + j] = out[i * g.inner + j];
          }
        }
        start_square(begun ? sum : zeros, begun ? step : 0);
        multiply_square(&all, 1, grads, kPairStep, patches + k, kGradStep);
        store_square(sum, step);
        if (inside) continue;
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < columns; ++j) out[i * g.inner + j] = edge[i * kColumns + j];
        }
      }
    }
    begun = true;
  } while (sample < g.from.samples);
}

bool backward(const VoxelSource& source, const Bfloat16* grad, int64_t features, float* grad_weight,
              int threads) {
  Backward g{
      .from = {source, choose_pack<Bfloat16>(source), grad, features, source.batch * source.tokens},
      .out = grad_weight,
      .inner = source.frames * source.rows * source.width,
      .slices = divide_gradient(source, kGradInner, features, kSquare, 1, threads)};
  if (g.from.samples == 0) {
    for (int64_t k = 0; k < features * g.inner; ++k) grad_weight[k] = 0.0f;
    return true;
  }
  g.patches = allocate(threads * kGradPairs * kGradStep);
  g.grads = allocate(threads * kSquare * kPairStep);
  const bool enough = g.patches != nullptr && g.grads != nullptr;
  if (enough && features > 0) parallel_run(threads, g.slices.tasks, accumulate, &g);
  free(g.patches);
  free(g.grads);
  return enough;
}

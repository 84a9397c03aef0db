// How the voxel tokenizer's product is divided into tasks. Included after tile.h, inside the
// namespace of an instruction set.

// Samples of a task: its packed patches and a panel of the weight stay in the second-level cache.
constexpr int64_t kTaskRows = 168 / kRows * kRows;
// Rows of a tile where windows come in such a number: it then holds one token, and skips what is
// outside the brain there and not in its neighbour.
constexpr int kWindowRows = kRows > 8 ? 8 : kRows;
constexpr int64_t kTaskTiles = kTaskRows / kWindowRows;

struct Tasks {
  int64_t tile, rows, row_tasks, panel_group, groups;
};

// Rows of the tiles for so many windows.
inline int64_t tile_rows(int64_t batch) { return batch % kWindowRows == 0 ? kWindowRows : kRows; }

// Samples of a task where the inner axis has so many blocks: a panel of one block is soon used up,
// and shorter tasks then share more evenly. Few samples make one task for each group of panels,
// which then need not be packed for others.
inline int64_t most_rows(int64_t blocks, int64_t samples) {
  return blocks > 1 || samples <= kTaskRows ? kTaskRows : kTaskRows / 2;
}

Tasks divide(int64_t samples, int64_t tile, int64_t most, int64_t panels, int threads) {
  Tasks t{.tile = tile};
  most = most / tile * tile;
  t.rows = ceil_div(ceil_div(samples, ceil_div(samples, most)), tile) * tile;
  t.row_tasks = ceil_div(samples, t.rows);
  // tasks that threads cannot share evenly: split the features too, and pack patches once for each
  int64_t groups = 1;
  while (groups < panels &&
         ceil_div(t.row_tasks * groups, threads) * threads * 10 > t.row_tasks * groups * 11) {
    ++groups;
  }
  t.panel_group = ceil_div(panels, groups);
  t.groups = ceil_div(panels, t.panel_group);
  return t;
}

// The gradient of the weight: slices of the inner axis times groups of tiles of features.
struct Slices {
  int64_t rows, count, tile_group, tasks;
};

Slices divide_gradient(const VoxelSource& source, int64_t inner, int64_t features, int64_t tile,
                       int64_t tasks_a_thread, int threads) {
  const int64_t rows = larger(1, inner / source.width), tiles = ceil_div(features, tile);
  const int64_t count = ceil_div(source.frames * source.rows, rows);
  const int64_t groups =
      threads > 1 ? smaller(tiles, ceil_div(tasks_a_thread * threads, count)) : 1;
  const int64_t tile_group = larger(1, ceil_div(tiles, larger(1, groups)));
  return {rows, count, tile_group, count * ceil_div(tiles, tile_group)};
}

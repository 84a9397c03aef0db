// Python entry points of the products with a bfloat16 memory; absent where the CPU has no tiles.
#include <new>

#include "bind.h"
#include "neighborhood_tiles.h"

namespace py = pybind11;

namespace fastbrain {

#ifdef FASTBRAIN_TILES

namespace {

TileMemory checked_memory(const char* function, std::uintptr_t memory, py::tuple sizes,
                          std::int64_t batch, std::int64_t step, int threads) {
  check(sizes.size() == 3, function, "sizes must be (size, width, memory_step)",
        static_cast<std::int64_t>(sizes.size()));
  const TileMemory m{pointer<const std::uint16_t>(memory), sizes[0].cast<std::int64_t>(),
                     sizes[1].cast<std::int64_t>(), sizes[2].cast<std::int64_t>()};
  check(memory != 0, function, "addresses must not be null", 0);
  check(m.size >= 1 && batch >= 1, function, "sizes must be positive", batch < 1 ? batch : m.size);
  check(m.width >= 1 && m.width % kNeighborhoodTile == 0, function,
        "width must be a multiple of 32", m.width);
  check(m.step >= m.width && m.step % 2 == 0, function,
        "memory_step must be even and not below the width", m.step);
  check(step >= batch && step % 16 == 0, function,
        "step must be a multiple of 16 that holds the batch", step);
  check_threads(function, threads);
  return m;
}

}  // namespace

void bind_neighborhood_tiles(py::module_& m, Isa isa) {
  if (isa < Isa::kAvx512Amx) return;
  m.def(
      "neighborhood_tiles_scores",
      [](std::uintptr_t memory, py::tuple sizes, std::uintptr_t features, std::int64_t batch,
         float factor, std::uintptr_t logits, std::int64_t step, std::uintptr_t norms,
         int threads) {
        const char* function = "neighborhood_tiles_scores";
        const TileMemory all = checked_memory(function, memory, sizes, batch, step, threads);
        check(features && logits && norms, function, "addresses must not be null", 0);
        py::gil_scoped_release released;
        if (!avx512amx::neighborhood_tiles.scores(all, pointer<const std::uint16_t>(features),
                                                  batch, factor, pointer<float>(logits), step,
                                                  pointer<float>(norms), threads)) {
          throw std::bad_alloc();
        }
      },
      py::kw_only(), py::arg("memory"), py::arg("sizes"), py::arg("features"), py::arg("batch"),
      py::arg("factor"), py::arg("logits"), py::arg("step"), py::arg("norms"), py::arg("threads"),
      "Logits (size, step) in float32 of bfloat16 features, and the norms of the memory's rows.");
  m.def(
      "neighborhood_tiles_products",
      [](std::uintptr_t memory, py::tuple sizes, std::uintptr_t weights, std::int64_t batch,
         std::int64_t step, bool rounds, std::uintptr_t grad, int threads) {
        const char* function = "neighborhood_tiles_products";
        const TileMemory all = checked_memory(function, memory, sizes, batch, step, threads);
        check(weights && grad, function, "addresses must not be null", 0);
        py::gil_scoped_release released;
        if (!avx512amx::neighborhood_tiles.products(all, pointer<const float>(weights), batch, step,
                                                    rounds, pointer<float>(grad), threads)) {
          throw std::bad_alloc();
        }
      },
      py::kw_only(), py::arg("memory"), py::arg("sizes"), py::arg("weights"), py::arg("batch"),
      py::arg("step"), py::arg("rounds"), py::arg("grad"), py::arg("threads"),
      "Weights (size, step), transposed, times the memory: (batch, width) in float32.");
}

#else

void bind_neighborhood_tiles(py::module_&, Isa) {}

#endif

}  // namespace fastbrain

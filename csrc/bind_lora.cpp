// Python entry points of the adapted linear layer.
#include <new>

#include "bind.h"
#include "lora.h"

namespace py = pybind11;

namespace fastbrain {

const Lora& lora(Isa isa, const LoraRows& l) {
#ifdef FASTBRAIN_TILES
  if (isa >= Isa::kAvx512Amx && l.bfloat16 && l.rows >= kLeastTileRows && l.d_in % kLoraTile == 0 &&
      l.d_out % kLoraTile == 0) {
    return avx512amx::lora_tiles;
  }
#endif
#ifdef FASTBRAIN_X86
  if (isa >= Isa::kAvx512Bf16) return avx512bf16::lora;
  if (isa >= Isa::kAvx512) return avx512::lora;
  if (isa == Isa::kAvx2) return avx2::lora;
#endif
  (void)isa, (void)l;
  return baseline::lora;
}

void bind_lora(py::module_& m, Isa isa) {
  m.def(
      "lora_few",
      [isa](std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias, std::uintptr_t a,
            std::uintptr_t b, std::uintptr_t out, std::int64_t rows, std::int64_t d_in,
            std::int64_t d_out, std::int64_t rank, int activation, float scale, bool bfloat16,
            int threads) {
        const char* function = "lora_few";
        const LoraRows all{.x = pointer<const void>(x),
                           .weight = pointer<const void>(weight),
                           .bias = pointer<const void>(bias),
                           .a = pointer<const void>(a),
                           .b = pointer<const void>(b),
                           .out = pointer<void>(out),
                           .bfloat16 = bfloat16,
                           .rows = rows,
                           .d_in = d_in,
                           .d_out = d_out,
                           .rank = rank,
                           .activation = static_cast<LoraActivation>(activation),
                           .scale = scale};
        for (const std::int64_t size : {rows, d_in, d_out, rank}) {
          check(size >= 0, function, "sizes must not be negative", size);
        }
        check(activation >= 0 && activation <= 3, function, "activation must be in [0, 3]",
              activation);
        check_threads(function, threads);
        py::gil_scoped_release released;
        if (!lora(isa, all).few(all, threads)) throw std::bad_alloc();
      },
      // by position: names take half of the time of a narrow layer
      "Addresses of x, weight, bias, a, b and out; their sizes; activation, scale, dtype, "
      "threads.");
#ifdef FASTBRAIN_CUDA
  m.def(
      "lora_decode_cuda",
      [](std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias, std::uintptr_t a,
         std::uintptr_t b, std::uintptr_t out, int type, py::tuple sizes, int activation,
         float scale, std::uintptr_t stream) {
        const char* function = "lora_decode";
        check(sizes.size() == 4, function, "sizes must be (rows, d_in, d_out, rank)",
              static_cast<std::int64_t>(sizes.size()));
        const LoraLaunch launch{.x = pointer<const void>(x),
                                .weight = pointer<const void>(weight),
                                .bias = pointer<const void>(bias),
                                .a = pointer<const void>(a),
                                .b = pointer<const void>(b),
                                .out = pointer<void>(out),
                                .rows = sizes[0].cast<int>(),
                                .d_in = sizes[1].cast<int>(),
                                .d_out = sizes[2].cast<int>(),
                                .rank = sizes[3].cast<int>(),
                                .activation = activation,
                                .scale = scale};
        check(launch.rows >= 0 && launch.rows <= kMostLoraRows, function, "rows must be in [0, 16]",
              launch.rows);
        check(launch.rank >= 0 && launch.rank <= kHighestLoraRank, function,
              "rank must be in [0, 64]", launch.rank);
        check(launch.d_in >= 0 && launch.d_out >= 0, function, "widths must not be negative",
              launch.d_in);
        py::gil_scoped_release released;
        lora_decode_cuda(launch, type, pointer<void>(stream));
      },
      py::kw_only(), py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("a"), py::arg("b"),
      py::arg("out"), py::arg("type"), py::arg("sizes"), py::arg("activation"), py::arg("scale"),
      py::arg("stream"));
#endif
}

}  // namespace fastbrain

// Python entry points of the nearest code and of the sums of a codebook update.
#include <new>

#include "bind.h"
#include "vq.h"

namespace py = pybind11;

namespace fastbrain {

const Vq& vq(Isa isa) {
#ifdef FASTBRAIN_X86
  if (isa == Isa::kAvx512) return avx512::vq;
  if (isa == Isa::kAvx2) return avx2::vq;
#endif
  (void)isa;
  return baseline::vq;
}

namespace {

VqRows rows_of(std::uintptr_t values, int type, std::uintptr_t mask, std::int64_t count,
               std::int64_t width, int threads) {
  check(count >= 0 && width >= 0, "vq", "rows must not be negative", count < 0 ? count : width);
  check(values != 0 || count * width == 0, "vq", "rows must not be null", 0);
  check(type >= 0 && type <= 2, "vq", "type must be 0, 1 or 2", type);
  check_threads("vq", threads);
  return {pointer<const void>(values), static_cast<VqType>(type), pointer<const bool>(mask), count,
          width};
}

VqCodes codes_of(std::uintptr_t values, bool packed, bool euclidean, std::int64_t count,
                 std::int64_t width) {
  // a half panel is numbered in 32 bits
  check(count >= 1 && count < (std::int64_t{1} << 31), "vq", "codes must be in [1, 2^31)", count);
  check(values != 0 || width == 0, "vq", "codes must not be null", 0);
  return {pointer<const float>(values), packed, euclidean, count, width};
}

}  // namespace

void bind_vq(py::module_& m, Isa isa) {
  m.def("vq_columns", [isa] { return vq(isa).columns; }, "Codes of a panel.");
  m.def(
      "vq_pack",
      [isa](std::uintptr_t codes, bool euclidean, std::int64_t count, std::int64_t width,
            std::uintptr_t out, int threads) {
        const VqCodes source = codes_of(codes, false, euclidean, count, width);
        check_threads("vq_pack", threads);
        py::gil_scoped_release released;
        vq(isa).pack(source, pointer<float>(out), threads);
      },
      py::kw_only(), py::arg("codes"), py::arg("euclidean"), py::arg("count"), py::arg("width"),
      py::arg("out"), py::arg("threads"));
  m.def(
      "vq_lookup",
      [isa](std::uintptr_t rows, int type, std::uintptr_t mask, std::int64_t count,
            std::uintptr_t codes, bool packed, bool euclidean, std::int64_t code_count,
            std::int64_t width, std::uintptr_t out, int threads) {
        const VqRows from = rows_of(rows, type, mask, count, width, threads);
        const VqCodes to = codes_of(codes, packed, euclidean, code_count, width);
        py::gil_scoped_release released;
        if (!vq(isa).lookup(from, to, pointer<std::int64_t>(out), threads)) throw std::bad_alloc();
      },
      py::kw_only(), py::arg("rows"), py::arg("type"), py::arg("mask"), py::arg("count"),
      py::arg("codes"), py::arg("packed"), py::arg("euclidean"), py::arg("code_count"),
      py::arg("width"), py::arg("out"), py::arg("threads"));
  m.def(
      "vq_sums",
      [isa](std::uintptr_t rows, int type, std::uintptr_t mask, std::int64_t count,
            std::int64_t width, std::uintptr_t indices, std::int64_t codes, std::uintptr_t counts,
            std::uintptr_t sums, int threads) {
        const VqRows from = rows_of(rows, type, mask, count, width, threads);
        check(codes >= 0, "vq_sums", "codes must not be negative", codes);
        py::gil_scoped_release released;
        vq(isa).sums(from, pointer<const std::int64_t>(indices), codes,
                     pointer<std::int64_t>(counts), pointer<float>(sums), threads);
      },
      py::kw_only(), py::arg("rows"), py::arg("type"), py::arg("mask"), py::arg("count"),
      py::arg("width"), py::arg("indices"), py::arg("codes"), py::arg("counts"), py::arg("sums"),
      py::arg("threads"));

#ifdef FASTBRAIN_CUDA
  m.def(
      "vq_lookup_cuda",
      [](std::uintptr_t x, int type, std::uintptr_t codebook, std::uintptr_t weights,
         std::uintptr_t mask, std::uintptr_t found, std::uintptr_t out, int rows,
         std::int64_t codes, std::int64_t width, int blocks, bool cosine, std::uintptr_t stream) {
        check(codes >= 1 && codes < (std::int64_t{1} << 31), "vq_lookup",
              "codes must be in [1, 2^31)", codes);
        check(rows >= 0 && blocks >= 1, "vq_lookup", "rows and blocks must be counts", rows);
        const VqLaunch launch{.x = pointer<const void>(x),
                              .codebook = pointer<const void>(codebook),
                              .weights = pointer<const float>(weights),
                              .mask = pointer<const bool>(mask),
                              .found = pointer<unsigned long long>(found),
                              .out = pointer<std::int64_t>(out),
                              .codes = codes,
                              .width = width,
                              .rows = rows,
                              .blocks = blocks,
                              .cosine = cosine};
        py::gil_scoped_release released;
        vq_lookup_cuda(launch, type, pointer<void>(stream));
      },
      py::kw_only(), py::arg("x"), py::arg("type"), py::arg("codebook"), py::arg("weights"),
      py::arg("mask"), py::arg("found"), py::arg("out"), py::arg("rows"), py::arg("codes"),
      py::arg("width"), py::arg("blocks"), py::arg("cosine"), py::arg("stream"));
#endif
}

}  // namespace fastbrain

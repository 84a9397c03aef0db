// Python entry points of the nearest-code lookup and of the sums of a codebook update.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "bind.h"
#include "vq.h"

namespace py = pybind11;

namespace fastbrain {

const VqScreen* vq_screen(Isa isa) {
#ifdef FASTBRAIN_X86
  if (isa >= Isa::kAvx512Vnni) return &avx512vnni::vq_screen;
#endif
  (void)isa;
  return nullptr;
}

namespace {

template <typename Number>
const Vq<Number>& vq(Isa isa) {
#ifdef FASTBRAIN_X86
  if (isa >= Isa::kAvx512) return avx512::vq(Number());
  if (isa == Isa::kAvx2) return avx2::vq(Number());
#endif
  (void)isa;
  return baseline::vq(Number());
}

// below these the search for survivors costs more than bytes save; 255 * 127 * width fits 32 bits
constexpr std::int64_t kFewestCodes = 512, kLeastWidth = 16, kMostWidth = 1 << 14;
// rows from which on it pays to compute the bytes of a codebook that is not packed
constexpr std::int64_t kFewestRows = 256;

struct Free {
  void operator()(float* values) const { std::free(values); }
};

std::int64_t whole_lines(std::int64_t floats) { return (floats + 15) / 16 * 16; }

// Layout of a packed codebook: panels and, for screening, the codes unchanged and as bytes.
template <typename Number>
struct Layout {
  static constexpr bool kMayScreen = std::is_same_v<Number, float>;
  const VqScreen* screen;  // nullptr: none
  std::int64_t values, bytes, end;

  Layout(Isa isa, std::int64_t count, std::int64_t width)
      : screen(kMayScreen ? vq_screen(isa) : nullptr) {
    const std::int64_t columns = vq<Number>(isa).columns;
    values = bytes = end = (count + columns - 1) / columns * (1 + width) * columns;
    if (count < kFewestCodes || width < kLeastWidth || width > kMostWidth) screen = nullptr;
    if (screen == nullptr) return;
    bytes = whole_lines(values + count * width);
    end = bytes + screen->floats(count, width);
  }
};

template <typename Number>
void pack(Isa isa, const VqCodes<Number>& codes, Number* to, int threads) {
  vq<Number>(isa).pack(codes, to, threads);
  const Layout<Number> layout(isa, codes.count, codes.width);
  if constexpr (layout.kMayScreen) {
    if (layout.screen == nullptr) return;
    std::copy_n(codes.values, codes.count * codes.width, to + layout.values);
    if (!layout.screen->pack(codes, to + layout.bytes, threads)) throw std::bad_alloc();
  }
}

template <typename Number>
void lookup(Isa isa, VqRows rows, const bool* mask, VqCodes<Number> codes, bool packed,
            std::int64_t* out, int threads) {
  std::vector<std::int64_t> chosen;
  const auto choose = [&](auto&& wanted) {
    chosen.clear();
    for (std::int64_t i = 0; i < rows.count; ++i) {
      if (wanted(i)) chosen.push_back(i);
    }
    rows.chosen = chosen.data();
  };
  const std::int64_t all = rows.count;
  if (mask != nullptr) {
    std::fill_n(out, all, -1);
    choose([&](std::int64_t i) { return mask[i]; });
    rows.count = static_cast<std::int64_t>(chosen.size());
  }
  if (rows.count == 0) return;
  const Layout<Number> layout(isa, codes.count, codes.width);
  if (packed) codes.panels = codes.values;
  if constexpr (layout.kMayScreen) {
    std::unique_ptr<float, Free> bytes;
    if (packed) {
      codes.values = codes.panels + layout.values;
      codes.screen = codes.panels + layout.bytes;
    } else if (layout.screen != nullptr && rows.count >= kFewestRows) {
      const auto size = static_cast<std::size_t>(whole_lines(layout.end - layout.bytes)) * 4;
      bytes.reset(static_cast<float*>(std::aligned_alloc(64, size)));
      if (bytes == nullptr || !layout.screen->pack(codes, bytes.get(), threads)) {
        throw std::bad_alloc();
      }
      codes.screen = bytes.get();
    }
    if (layout.screen != nullptr && codes.screen != nullptr) {
      if (!layout.screen->lookup(rows, codes, out, threads)) throw std::bad_alloc();
      rows.count = all;
      choose([&](std::int64_t i) { return out[i] == kUndecided; });
      rows.count = static_cast<std::int64_t>(chosen.size());
      if (rows.count == 0) return;
    }
  }
  if (!vq<Number>(isa).lookup(rows, codes, out, threads)) throw std::bad_alloc();
}

VqRows rows_of(std::uintptr_t values, int type, std::int64_t count, std::int64_t width,
               int threads) {
  check(count >= 0 && width >= 0, "vq", "rows must not be negative", count < 0 ? count : width);
  check(values != 0 || count * width == 0, "vq", "rows must not be null", 0);
  check(type >= 0 && type <= 3, "vq", "type must be in [0, 3]", type);
  check_threads("vq", threads);
  return {pointer<const void>(values), static_cast<DType>(type), nullptr, count, width};
}

template <typename Number>
VqCodes<Number> codes_of(std::uintptr_t values, bool euclidean, std::int64_t count,
                         std::int64_t width) {
  // half panels have 32-bit numbers
  check(count >= 1 && count < (std::int64_t{1} << 31), "vq", "codes must be in [1, 2^31)", count);
  check(values != 0 || width == 0, "vq", "codes must not be null", 0);
  return {pointer<const Number>(values), nullptr, nullptr, euclidean, count, width};
}

// The entry points of one precision; their names end in `suffix`.
template <typename Number>
void bind_precision(py::module_& m, Isa isa, const std::string& suffix) {
  m.def(("vq_packed_numbers" + suffix).c_str(),
        [isa](std::int64_t count, std::int64_t width) {
          return Layout<Number>(isa, count, width).end;
        },
        py::arg("count"), py::arg("width"), "Length of a packed codebook.");
  m.def(("vq_pack" + suffix).c_str(),
        [isa](std::uintptr_t codes, bool euclidean, std::int64_t count, std::int64_t width,
              std::uintptr_t out, int threads) {
          const VqCodes source = codes_of<Number>(codes, euclidean, count, width);
          check_threads("vq_pack", threads);
          py::gil_scoped_release released;
          pack(isa, source, pointer<Number>(out), threads);
        },
        py::kw_only(), py::arg("codes"), py::arg("euclidean"), py::arg("count"), py::arg("width"),
        py::arg("out"), py::arg("threads"));
  m.def(("vq_lookup" + suffix).c_str(),
        [isa](std::uintptr_t rows, int type, std::uintptr_t mask, std::int64_t count,
              std::uintptr_t codes, bool packed, bool euclidean, std::int64_t code_count,
              std::int64_t width, std::uintptr_t out, int threads) {
          const VqRows from = rows_of(rows, type, count, width, threads);
          const VqCodes to = codes_of<Number>(codes, euclidean, code_count, width);
          py::gil_scoped_release released;
          lookup(isa, from, pointer<const bool>(mask), to, packed, pointer<std::int64_t>(out),
                 threads);
        },
        py::kw_only(), py::arg("rows"), py::arg("type"), py::arg("mask"), py::arg("count"),
        py::arg("codes"), py::arg("packed"), py::arg("euclidean"), py::arg("code_count"),
        py::arg("width"), py::arg("out"), py::arg("threads"));
  m.def(("vq_sums" + suffix).c_str(),
        [isa](std::uintptr_t rows, int type, std::uintptr_t mask, std::int64_t count,
              std::int64_t width, std::uintptr_t indices, std::int64_t codes, std::uintptr_t counts,
              std::uintptr_t sums, int threads) {
          const VqRows from = rows_of(rows, type, count, width, threads);
          check(codes >= 0, "vq_sums", "codes must not be negative", codes);
          py::gil_scoped_release released;
          vq<Number>(isa).sums(from, pointer<const bool>(mask),
                               pointer<const std::int64_t>(indices), codes,
                               pointer<std::int64_t>(counts), pointer<Number>(sums), threads);
        },
        py::kw_only(), py::arg("rows"), py::arg("type"), py::arg("mask"), py::arg("count"),
        py::arg("width"), py::arg("indices"), py::arg("codes"), py::arg("counts"), py::arg("sums"),
        py::arg("threads"));
}

}  // namespace

void bind_vq(py::module_& m, Isa isa) {
  bind_precision<float>(m, isa, "");
  bind_precision<double>(m, isa, "_double");

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

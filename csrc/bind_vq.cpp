// Python entry points of the nearest-code lookup and of the sums of a codebook update.
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
  return FASTBRAIN_OF_ISA(isa, vq(Number()));
}

const VqPlain& vq_plain(Isa isa) { return FASTBRAIN_OF_ISA(isa, vq_plain); }

// below these the search for survivors costs more than bytes save; 255 * 127 * width fits 32 bits
constexpr std::int64_t kFewestCodes = 512, kLeastWidth = 16, kMostWidth = 1 << 14;
// rows from which on it pays to pack a codebook first; fewer products are faster on one thread
constexpr std::int64_t kFewestRows = 65, kAloneProducts = 1 << 18;

struct Free {
  void operator()(void* values) const { std::free(values); }
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
using Buffer = std::unique_ptr<Number, Free>;

template <typename Number>
Buffer<Number> buffer_of(std::int64_t count) {
  const auto bytes = static_cast<std::size_t>(whole_lines(count)) * sizeof(Number);
  Buffer<Number> buffer(static_cast<Number*>(std::aligned_alloc(64, bytes)));
  if (buffer == nullptr) throw std::bad_alloc();
  return buffer;
}

// The codes in the precision of a lookup: where they lie or, if they differ, in `to` or a buffer.
template <typename Number>
VqCodes<Number> read(Isa isa, const VqSource& from, Number* to, Buffer<Number>& buffer,
                     int threads) {
  VqCodes<Number> codes{nullptr, nullptr, nullptr, from.euclidean, from.count, from.width};
  constexpr DType kOwn = std::is_same_v<Number, float> ? DType::kFloat32 : DType::kFloat64;
  if (to == nullptr && from.euclidean && from.type == kOwn) {
    codes.values = static_cast<const Number*>(from.values);
    return codes;
  }
  if (to == nullptr) {
    buffer = buffer_of<Number>(from.count * from.width);
    to = buffer.get();
  }
  vq<Number>(isa).read(from, to, threads);
  codes.values = to;
  return codes;
}

template <typename Number>
void pack(Isa isa, const VqSource& from, Number* to, int threads) {
  const Layout<Number> layout(isa, from.count, from.width);
  Buffer<Number> buffer;
  const bool screens = layout.screen != nullptr;
  const VqCodes codes =
      read<Number>(isa, from, screens ? to + layout.values : nullptr, buffer, threads);
  vq<Number>(isa).pack(codes, to, threads);
  if constexpr (layout.kMayScreen) {
    if (screens && !layout.screen->pack(codes, to + layout.bytes, threads)) throw std::bad_alloc();
  }
}

// Rows where the mask is true; false if there is none.
bool choose(VqRows& rows, const bool* mask, std::vector<std::int64_t>& chosen, std::int64_t* out) {
  check(out != nullptr || rows.count == 0, "vq_lookup", "out must not be null", 0);
  if (mask != nullptr) {
    for (std::int64_t i = 0; i < rows.count; ++i) {
      if (mask[i]) chosen.push_back(i);
      out[i] = -1;
    }
    rows.chosen = chosen.data();
    rows.count = static_cast<std::int64_t>(chosen.size());
  }
  return rows.count > 0;
}

// `packed` is the result of `pack`, or nullptr.
template <typename Number>
void lookup(Isa isa, VqRows rows, const bool* mask, const VqSource& from, const Number* packed,
            std::int64_t* out, int threads) {
  const std::int64_t all = rows.count;
  std::vector<std::int64_t> chosen;
  if (!choose(rows, mask, chosen, out)) return;
  if (rows.count * from.count * from.width < kAloneProducts) threads = 1;
  const Layout<Number> layout(isa, from.count, from.width);
  Buffer<Number> buffer;
  VqCodes<Number> codes{nullptr, packed, nullptr, from.euclidean, from.count, from.width};
  if constexpr (layout.kMayScreen) {
    if (packed == nullptr && rows.count < kFewestRows && from.type != DType::kFloat64 &&
        vq_plain(isa).lookup(rows, from, 56, out, threads)) {
      return;
    }
  }
  if (packed == nullptr) codes = read<Number>(isa, from, nullptr, buffer, threads);
  if constexpr (layout.kMayScreen) {
    Buffer<float> bytes;
    if (layout.screen != nullptr && packed != nullptr) {
      codes.values = packed + layout.values;
      codes.screen = packed + layout.bytes;
    } else if (layout.screen != nullptr && rows.count >= kFewestRows) {
      bytes = buffer_of<float>(layout.end - layout.bytes);
      if (!layout.screen->pack(codes, bytes.get(), threads)) throw std::bad_alloc();
      codes.screen = bytes.get();
    }
    if (codes.screen != nullptr) {
      if (!layout.screen->lookup(rows, codes, out, threads)) throw std::bad_alloc();
      chosen.clear();
      for (std::int64_t i = 0; i < all; ++i) {
        if (out[i] == kUndecided) chosen.push_back(i);
      }
      rows.chosen = chosen.data();
      rows.count = static_cast<std::int64_t>(chosen.size());
      if (rows.count == 0) return;
    }
  }
  if (!vq<Number>(isa).lookup(rows, codes, out, threads)) throw std::bad_alloc();
}

VqRows rows_of(std::uintptr_t values, int type, std::int64_t count, std::int64_t width,
               int threads) {
  check(count >= 0 && width >= 0, "vq", "sizes must not be negative", count < 0 ? count : width);
  check(values != 0 || count * width == 0, "vq", "rows must not be null", 0);
  check(type >= 0 && type <= 3, "vq", "type must be in [0, 3]", type);
  check_threads("vq", threads);
  return {pointer<const void>(values), static_cast<DType>(type), nullptr, count, width};
}

VqSource source_of(std::uintptr_t values, int type, bool euclidean, std::int64_t count,
                   std::int64_t width) {
  // half panels have 32-bit numbers
  check(count >= 1 && count < (std::int64_t{1} << 31), "vq", "codes must be in [1, 2^31)", count);
  check(values != 0 || width == 0, "vq", "codes must not be null", 0);
  check(type >= 0 && type <= 3, "vq", "code_type must be in [0, 3]", type);
  return {pointer<const void>(values), static_cast<DType>(type), euclidean, count, width};
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
        [isa](std::uintptr_t codes, int type, bool euclidean, std::int64_t count,
              std::int64_t width, std::uintptr_t out, int threads) {
          const VqSource source = source_of(codes, type, euclidean, count, width);
          check(out != 0, "vq_pack", "out must not be null", 0);
          check_threads("vq_pack", threads);
          py::gil_scoped_release released;
          pack(isa, source, pointer<Number>(out), threads);
        },
        py::kw_only(), py::arg("codes"), py::arg("type"), py::arg("euclidean"), py::arg("count"),
        py::arg("width"), py::arg("out"), py::arg("threads"));
  m.def(("vq_lookup" + suffix).c_str(),
        [isa](std::uintptr_t rows, int type, std::uintptr_t mask, std::int64_t count,
              std::uintptr_t codes, int code_type, bool packed, bool euclidean,
              std::int64_t code_count, std::int64_t width, std::uintptr_t out, int threads) {
          const VqRows from = rows_of(rows, type, count, width, threads);
          const VqSource to = source_of(codes, code_type, euclidean, code_count, width);
          py::gil_scoped_release released;
          lookup<Number>(isa, from, pointer<const bool>(mask), to,
                         packed ? pointer<const Number>(codes) : nullptr,
                         pointer<std::int64_t>(out), threads);
        },
        py::arg("rows"), py::arg("type"), py::arg("mask"), py::arg("count"), py::arg("codes"),
        py::arg("code_type"), py::arg("packed"), py::arg("euclidean"), py::arg("code_count"),
        py::arg("width"), py::arg("out"), py::arg("threads"));
  m.def(("vq_sums" + suffix).c_str(),
        [isa](std::uintptr_t rows, int type, std::uintptr_t mask, std::int64_t count,
              std::int64_t width, std::uintptr_t indices, std::int64_t codes, std::uintptr_t counts,
              std::uintptr_t sums, int threads) {
          const VqRows from = rows_of(rows, type, count, width, threads);
          check(codes >= 0, "vq_sums", "codes must not be negative", codes);
          check(codes == 0 || (counts != 0 && (sums != 0 || width == 0)), "vq_sums",
                "counts and sums must not be null", 0);
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
  m.def(
      "vq_lookup_plain",
      [isa](std::uintptr_t rows, int type, std::uintptr_t mask, std::int64_t count,
            std::uintptr_t codes, int code_type, bool euclidean, std::int64_t code_count,
            std::int64_t width, int power, std::uintptr_t out, int threads) {
        VqRows from = rows_of(rows, type, count, width, threads);
        const VqSource to = source_of(codes, code_type, euclidean, code_count, width);
        check(type != 3 && code_type != 3, "vq_lookup_plain", "types must be below 3", type);
        py::gil_scoped_release released;
        std::vector<std::int64_t> chosen;
        auto* found = pointer<std::int64_t>(out);
        if (!choose(from, pointer<const bool>(mask), chosen, found)) return true;
        return vq_plain(isa).lookup(from, to, power, found, threads);
      },
      // by position: names take a third of the time of a small codebook
      "False if only another lookup can tell.");
  m.def(
      "vq_digest",
      [isa](std::uintptr_t bytes, std::int64_t count, int threads) {
        check_array("vq_digest", bytes, count);
        check_threads("vq_digest", threads);
        py::gil_scoped_release released;
        std::vector<std::uint64_t> parts(static_cast<std::size_t>(count / vq_plain(isa).part + 1));
        return vq_plain(isa).digest(pointer<const void>(bytes), count, parts.data(), threads);
      },
      py::kw_only(), py::arg("bytes"), py::arg("count"), py::arg("threads"));

#ifdef FASTBRAIN_CUDA
  m.def(
      "vq_lookup_cuda",
      [](std::uintptr_t x, int type, std::uintptr_t codebook, std::uintptr_t weights,
         std::uintptr_t mask, std::uintptr_t found, std::uintptr_t out, int rows,
         std::int64_t codes, std::int64_t width, int blocks, bool cosine, std::uintptr_t stream) {
        check(codes >= 1 && codes < (std::int64_t{1} << 31), "vq_lookup",
              "codes must be in [1, 2^31)", codes);
        check(rows >= 0, "vq_lookup", "rows must not be negative", rows);
        check(blocks >= 1, "vq_lookup", "blocks must be positive", blocks);
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

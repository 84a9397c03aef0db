// Python entry points of the voxel tokenizer.
#include <new>
#include <string>

#include "bind.h"
#include "voxel_tokenizer.h"

namespace py = pybind11;

namespace fastbrain {

const VoxelTokenizer& voxel_tokenizer(Isa isa) { return FASTBRAIN_OF_ISA(isa, voxel_tokenizer); }

const VoxelTokenizerBfloat16* voxel_tokenizer_bfloat16(Isa isa) {
#ifdef FASTBRAIN_X86
  if (isa >= Isa::kAvx512Bf16) return &avx512bf16::voxel_tokenizer_bfloat16;
#endif
  (void)isa;
  return nullptr;
}

const VoxelTokenizerTiles* voxel_tokenizer_tiles(Isa isa) {
#ifdef FASTBRAIN_TILES
  if (isa >= Isa::kAvx512Amx) return &avx512amx::voxel_tokenizer_tiles;
#endif
  (void)isa;
  return nullptr;
}

namespace {

VoxelSource source(std::uintptr_t volumes, bool is_int16, bool packed, std::uintptr_t mean,
                   bool mean_packed, std::uintptr_t inv_std, bool inv_std_packed,
                   std::uintptr_t bases, std::uintptr_t bits, py::tuple sizes, float scale) {
  const char* function = "voxel_tokenizer";
  check(sizes.size() == 6, function, "sizes must be (batch, frames, voxels, tokens, rows, width)",
        static_cast<std::int64_t>(sizes.size()));
  std::int64_t size[6];
  for (int i = 0; i < 6; ++i) {
    size[i] = sizes[i].cast<std::int64_t>();
    check(size[i] >= (i == 0 ? 0 : 1), function, "sizes must be positive", size[i]);
  }
  check(size[5] <= kWidestRow, function, "width must be at most 64", size[5]);
  check(bases != 0 && bits != 0, function, "bases and bits must not be null", 0);
  check(volumes != 0 || size[0] == 0, function, "volumes must not be null", 0);
  return {.volumes = pointer<const void>(volumes),
          .is_int16 = is_int16,
          .packed = packed,
          .mean = pointer<const float>(mean),
          .mean_packed = mean_packed,
          .inv_std = pointer<const float>(inv_std),
          .inv_std_packed = inv_std_packed,
          .bases = pointer<const std::int32_t>(bases),
          .bits = pointer<const void>(bits),
          .batch = size[0],
          .frames = size[1],
          .voxels = size[2],
          .tokens = size[3],
          .rows = size[4],
          .width = size[5],
          .scale = scale};
}

#ifdef FASTBRAIN_CUDA
VoxelRead voxel_read(std::uintptr_t volumes, std::uintptr_t offsets, std::uintptr_t mean,
                     std::uintptr_t inv_std, py::tuple packed, std::int64_t voxels, py::tuple sizes,
                     float scale) {
  const char* function = "voxel_tokenizer";
  check(sizes.size() == 5, function, "sizes must be (batch, frames, tokens, patch, features)",
        static_cast<std::int64_t>(sizes.size()));
  check(packed.size() == 3, function, "packed must be (volumes, mean, inv_std)",
        static_cast<std::int64_t>(packed.size()));
  int size[5];
  for (int i = 0; i < 5; ++i) {
    size[i] = sizes[i].cast<int>();
    check(size[i] >= (i == 2 || i == 3 ? 1 : 0), function, "sizes must be positive", size[i]);
  }
  return {.volumes = pointer<const void>(volumes),
          .offsets = pointer<const std::int32_t>(offsets),
          .mean = pointer<const float>(mean),
          .inv_std = pointer<const float>(inv_std),
          .packed = packed[0].cast<bool>(),
          .mean_packed = packed[1].cast<bool>(),
          .inv_std_packed = packed[2].cast<bool>(),
          .voxels = voxels,
          .batch = size[0],
          .frames = size[1],
          .tokens = size[2],
          .patch = size[3],
          .features = size[4],
          .scale = scale};
}
#endif

// `rows` of `width` numbers are written.
void check_output(std::int64_t rows, std::int64_t width, std::uintptr_t out) {
  check(out != 0 || rows == 0 || width == 0, "voxel_tokenizer", "out must not be null", 0);
}

void check_counts(std::int64_t features, int threads) {
  check(features >= 0, "voxel_tokenizer", "features must not be negative", features);
  check_threads("voxel_tokenizer", threads);
}

// NAME_forward and NAME_backward with weights in bfloat16.
template <typename Kernels>
void bind_bfloat16(py::module_& m, const std::string& name, const Kernels& kernels) {
  m.def((name + "_forward").c_str(),
        [&kernels](const VoxelSource& source, std::uintptr_t weight, std::uintptr_t bias,
                   std::int64_t features, std::uintptr_t out, int threads) {
          check_counts(features, threads);
          check_output(source.batch, features, out);
          py::gil_scoped_release released;
          if (!kernels.forward(source, pointer<const Bfloat16>(weight), pointer<const float>(bias),
                               features, pointer<Bfloat16>(out), threads)) {
            throw std::bad_alloc();
          }
        },
        py::arg("source"), py::arg("weight"), py::arg("bias"), py::arg("features"), py::arg("out"),
        py::arg("threads"));
  m.def((name + "_backward").c_str(),
        [&kernels](const VoxelSource& source, std::uintptr_t grad, std::int64_t features,
                   std::uintptr_t grad_weight, int threads) {
          check_counts(features, threads);
          check_output(features, 1, grad_weight);
          py::gil_scoped_release released;
          if (!kernels.backward(source, pointer<const Bfloat16>(grad), features,
                                pointer<float>(grad_weight), threads)) {
            throw std::bad_alloc();
          }
        },
        py::arg("source"), py::arg("grad"), py::arg("features"), py::arg("grad_weight"),
        py::arg("threads"));
}

}  // namespace

void bind_voxel_tokenizer(py::module_& m, Isa isa) {
  py::class_<VoxelSource>(m, "VoxelSource", "Addresses and sizes of what a tokenizer reads.")
      .def(py::init(&source), py::arg("volumes"), py::arg("is_int16"), py::arg("packed"),
           py::arg("mean"), py::arg("mean_packed"), py::arg("inv_std"), py::arg("inv_std_packed"),
           py::arg("bases"), py::arg("bits"), py::arg("sizes"), py::arg("scale"));

  m.def(
      "voxel_tokenizer_forward",
      [isa](const VoxelSource& source, std::uintptr_t weight, std::uintptr_t bias,
            std::int64_t features, std::uintptr_t out, int threads) {
        check_counts(features, threads);
        check_output(source.batch, features, out);
        py::gil_scoped_release released;
        if (!voxel_tokenizer(isa).forward(source, pointer<const float>(weight),
                                          pointer<const float>(bias), features, pointer<float>(out),
                                          threads)) {
          throw std::bad_alloc();
        }
      },
      py::arg("source"), py::arg("weight"), py::arg("bias"), py::arg("features"), py::arg("out"),
      py::arg("threads"));
  m.def(
      "voxel_tokenizer_backward",
      [isa](const VoxelSource& source, std::uintptr_t grad, std::int64_t features,
            std::uintptr_t grad_weight, int threads) {
        check_counts(features, threads);
        check_output(features, 1, grad_weight);
        py::gil_scoped_release released;
        if (!voxel_tokenizer(isa).backward(source, pointer<const float>(grad), features,
                                           pointer<float>(grad_weight), threads)) {
          throw std::bad_alloc();
        }
      },
      py::arg("source"), py::arg("grad"), py::arg("features"), py::arg("grad_weight"),
      py::arg("threads"));

  m.def("bfloat16_tiles", &has_bfloat16_tiles, "Whether the CPU multiplies tiles of bfloat16.");
  // absent where the machine has no products, or no tiles, of bfloat16
  if (const VoxelTokenizerBfloat16* kernels = voxel_tokenizer_bfloat16(isa)) {
    bind_bfloat16(m, "voxel_tokenizer_bfloat16", *kernels);
    m.def(
        "voxel_tokenizer_bfloat16_patches",
        [kernels](const VoxelSource& source, std::int64_t first, std::int64_t count,
                  std::uintptr_t out, int threads) {
          const std::int64_t samples = source.batch * source.tokens;
          const bool inside = first >= 0 && count >= 0 && first <= samples - count;
          check(inside, "voxel_tokenizer", "first must leave count samples", first);
          check_output(count, 1, out);
          check_threads("voxel_tokenizer", threads);
          py::gil_scoped_release released;
          kernels->patches(source, first, count, pointer<Bfloat16>(out), threads);
        },
        py::arg("source"), py::arg("first"), py::arg("count"), py::arg("out"), py::arg("threads"));
  }
  if (const VoxelTokenizerTiles* kernels = voxel_tokenizer_tiles(isa)) {
    bind_bfloat16(m, "voxel_tokenizer_tiles", *kernels);
  }

#ifdef FASTBRAIN_CUDA
  py::class_<VoxelRead>(m, "VoxelRead", "Addresses and sizes of what a GPU tokenizer reads.")
      .def(py::init(&voxel_read), py::kw_only(), py::arg("volumes"), py::arg("offsets"),
           py::arg("mean"), py::arg("inv_std"), py::arg("packed"), py::arg("voxels"),
           py::arg("sizes"), py::arg("scale"));
  m.def(
      "voxel_tokenizer_cuda",
      [](const VoxelRead& read, int volume_type, std::uintptr_t weight, int weight_type,
         std::uintptr_t bias, std::uintptr_t out, std::uintptr_t stream) {
        const VoxelForward work{.read = read,
                                .weight = pointer<const void>(weight),
                                .bias = pointer<const void>(bias),
                                .out = pointer<void>(out)};
        py::gil_scoped_release released;
        voxel_tokenizer_cuda(work, volume_type, weight_type, pointer<void>(stream));
      },
      py::kw_only(), py::arg("read"), py::arg("volume_type"), py::arg("weight"),
      py::arg("weight_type"), py::arg("bias"), py::arg("out"), py::arg("stream"));
  m.def(
      "voxel_tokenizer_cuda_grad",
      [](const VoxelRead& read, int volume_type, std::uintptr_t grad, int grad_type,
         std::uintptr_t grad_weight, std::uintptr_t stream) {
        const VoxelBackward work{.read = read,
                                 .grad = pointer<const void>(grad),
                                 .grad_weight = pointer<float>(grad_weight)};
        py::gil_scoped_release released;
        voxel_tokenizer_cuda_grad(work, volume_type, grad_type, pointer<void>(stream));
      },
      py::kw_only(), py::arg("read"), py::arg("volume_type"), py::arg("grad"), py::arg("grad_type"),
      py::arg("grad_weight"), py::arg("stream"));
#endif
}

}  // namespace fastbrain

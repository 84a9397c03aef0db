// Addresses and sizes of plainly right arguments: for a small problem, the checks of the Python
// layer take longer than the kernel.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>

#include "bind.h"
#include "bind_tensor.h"
#include "voxel_tokenizer.h"

namespace py = pybind11;

namespace fastbrain {

namespace {

// Addresses of rows, mask and codes; their type and sizes. None where only the checks of the Python
// layer can tell.
py::object lookup_arguments(py::handle x_value, py::handle codes_value, py::handle mask_value) {
  const PlainTensor x = plain_tensor(x_value.ptr()), codes = plain_tensor(codes_value.ptr());
  if (!x.plain || x.dims < 1 || codes.dims != 2 || codes.type != x.type) return py::none();
  const std::int64_t size = codes.shape[0], width = codes.shape[1], count = x.numel();
  if (x.shape[x.dims - 1] != width || count == 0 || size < 1 || size >= std::int64_t{1} << 31 ||
      !(x.type == DType::kFloat32 || x.type == DType::kFloat16 || x.type == DType::kBfloat16)) {
    return py::none();
  }
  PlainTensor mask;
  if (!mask_value.is_none()) {
    mask = plain_tensor(mask_value.ptr());
    if (!mask.plain || mask.type != DType::kBool || mask.dims != x.dims - 1 ||
        !std::equal(mask.shape, mask.shape + mask.dims, x.shape)) {
      return py::none();
    }
  }
  return py::make_tuple(x.address(), static_cast<int>(x.type), mask.address(), count / width,
                        codes.address(), size, width);
}

// The part of a call that depends on the grid alone.
struct VoxelPlan {
  std::array<std::int64_t, 3> kernel, whole;  // sizes of a patch and of a volume
  std::int64_t patch_voxels;
  const std::int32_t* bases;
  const void* bits;
  std::int64_t tokens, rows;
};

VoxelPlan plan(std::array<std::int64_t, 3> kernel, std::array<std::int64_t, 3> whole,
               std::int64_t patch_voxels, std::uintptr_t bases, std::uintptr_t bits,
               std::int64_t tokens, std::int64_t rows) {
  const char* function = "VoxelPlan";
  for (const std::int64_t size : {kernel[0], kernel[1], kernel[2], whole[0], whole[1], whole[2],
                                  patch_voxels, tokens, rows}) {
    check(size >= 1, function, "sizes must be positive", size);
  }
  check(kernel[2] <= kWidestRow, function, "width must be at most 64", kernel[2]);
  check(bases != 0 && bits != 0, function, "bases and bits must not be null", 0);
  return {
      kernel, whole, patch_voxels, pointer<const std::int32_t>(bases), pointer<const void>(bits),
      tokens, rows};
}

// Whether a tensor has the axes of a volume or of its tokens, in memory's order, after `before`.
bool fits(const VoxelPlan& plan, const PlainTensor& tensor, int before, bool& packed) {
  const std::int64_t* shape = tensor.shape + before;
  packed = tensor.dims == before + 2;
  if (packed) return shape[0] == plan.tokens && shape[1] == plan.patch_voxels;
  return tensor.dims == before + 3 && std::equal(plan.whole.begin(), plan.whole.end(), shape);
}

// What a tokenizer reads; address of weight and bias; batch, features; whether the weight is
// bfloat16, whether autograd may need a gradient. None where only the checks of the Python layer
// can tell.
py::object tokenizer_arguments(const VoxelPlan& plan, py::handle volumes_value,
                               py::handle weight_value, py::handle bias_value,
                               py::handle mean_value, py::handle inv_std_value, float scale) {
  const PlainTensor volumes = plain_tensor(volumes_value.ptr()),
                    weight = plain_tensor(weight_value.ptr());
  const bool is_int16 = volumes.type == DType::kInt16, half = weight.type == DType::kBfloat16;
  if (!volumes.plain || !(is_int16 || volumes.type == DType::kFloat32) || volumes.dims < 4 ||
      weight.dims != 5 || !(half || weight.type == DType::kFloat32)) {
    return py::none();
  }
  const std::int64_t features = weight.shape[0], frames = weight.shape[1];
  bool packed = false;
  if (frames < 1 || volumes.shape[1] != frames ||
      !std::equal(plan.kernel.begin(), plan.kernel.end(), weight.shape + 2) ||
      !fits(plan, volumes, 2, packed)) {
    return py::none();
  }
  PlainTensor bias;
  if (!bias_value.is_none()) {
    bias = plain_tensor(bias_value.ptr());
    if (!bias.is(weight.type, {features})) return py::none();
  }
  const float* statistics[2] = {nullptr, nullptr};
  bool statistics_packed[2] = {false, false};
  int which = 0;
  for (const py::handle value : {mean_value, inv_std_value}) {
    if (!value.is_none()) {
      const PlainTensor tensor = plain_tensor(value.ptr());
      if (!tensor.plain || tensor.type != DType::kFloat32 ||
          !fits(plan, tensor, 0, statistics_packed[which])) {
        return py::none();
      }
      statistics[which] = static_cast<const float*>(tensor.data);
    }
    ++which;
  }
  const VoxelSource source{.volumes = volumes.data,
                           .is_int16 = is_int16,
                           .packed = packed,
                           .mean = statistics[0],
                           .mean_packed = statistics_packed[0],
                           .inv_std = statistics[1],
                           .inv_std_packed = statistics_packed[1],
                           .bases = plan.bases,
                           .bits = plan.bits,
                           .batch = volumes.shape[0],
                           .frames = frames,
                           .voxels = plan.whole[0] * plan.whole[1] * plan.whole[2],
                           .tokens = plan.tokens,
                           .rows = plan.rows,
                           .width = plan.kernel[2],
                           .scale = scale};
  return py::make_tuple(source, weight.address(), bias.address(), volumes.shape[0], features, half,
                        weight.graded || bias.graded);
}

}  // namespace

void bind_arguments(py::module_& m) {
  m.def("vq_arguments", &lookup_arguments,
        "Of plainly right x, codes and mask or None: address and type of the rows, address of the "
        "mask, number of rows, address, number and width of the codes. None where checks must "
        "tell.");
  py::class_<VoxelPlan>(m, "VoxelPlan", "The part of a call that depends on the grid alone.")
      .def(py::init(&plan), py::kw_only(), py::arg("kernel"), py::arg("whole"),
           py::arg("patch_voxels"), py::arg("bases"), py::arg("bits"), py::arg("tokens"),
           py::arg("rows"))
      .def("arguments", &tokenizer_arguments,
           "Of plainly right volumes, weight, bias, mean, inv_std and scale: the source, addresses "
           "of weight and bias, batch, features, whether the weight is bfloat16 and whether it or "
           "the bias requires a gradient. None where checks must tell.");
}

}  // namespace fastbrain

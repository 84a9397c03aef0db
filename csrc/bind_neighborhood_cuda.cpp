// Python entry points of neighbourhood clustering on a GPU.
#include "bind.h"
#ifdef FASTBRAIN_CUDA
#include "neighborhood_cuda.h"
#endif

namespace py = pybind11;

namespace fastbrain {

#ifdef FASTBRAIN_CUDA
namespace {

// Sizes and flags; the addresses are not needed to know how much scratch memory it takes.
ClusteringLaunch sized(const py::tuple& sizes, std::int64_t step, bool tensor_cores, float eps,
                       bool grad, int blocks) {
  const char* function = "neighborhood_clustering";
  check(sizes.size() == 4, function, "sizes must be (batch, classes, size, width)",
        static_cast<std::int64_t>(sizes.size()));
  ClusteringLaunch p{};
  p.batch = sizes[0].cast<int>();
  p.classes = sizes[1].cast<int>();
  p.size = sizes[2].cast<int>();
  p.width = sizes[3].cast<int>();
  check(p.batch >= 1 && p.batch <= kMostClusteringSamples, function, "batch must be in [1, 64]",
        p.batch);
  check(p.classes >= 1, function, "classes must be positive", p.classes);
  check(p.size >= 1, function, "size must be positive", p.size);
  check(p.width >= 1 && step >= p.width, function, "width must be in [1, step]", p.width);
  check(blocks >= 1, function, "blocks must be positive", blocks);
  p.step = step;
  p.tensor_cores = tensor_cores;
  p.eps = eps;
  p.blocks = blocks;
  // an address that is never used: only whether there is one matters
  p.grads = grad ? reinterpret_cast<float*>(sizeof(float)) : nullptr;
  return p;
}

}  // namespace
#endif

void bind_neighborhood_cuda(py::module_& m) {
#ifdef FASTBRAIN_CUDA
  m.def(
      "neighborhood_clustering_cuda_scratch",
      [](py::tuple sizes, bool tensor_cores, float eps, bool grad, int blocks) {
        const std::int64_t width = sizes.size() == 4 ? sizes[3].cast<std::int64_t>() : 0;
        return clustering_scratch(sized(sizes, width, tensor_cores, eps, grad, blocks));
      },
      py::kw_only(), py::arg("sizes"), py::arg("tensor_cores"), py::arg("eps"), py::arg("grad"),
      py::arg("blocks"), "How many float32 numbers a launch needs beside its results.");
  m.def(
      "neighborhood_clustering_cuda",
      [](std::uintptr_t features, std::uintptr_t prototypes, std::uintptr_t memory,
         std::uintptr_t indices, std::uintptr_t scratch, std::uintptr_t value, std::uintptr_t grads,
         int type, py::tuple sizes, std::int64_t step, bool tensor_cores, float inv_temperature,
         float eps, float tolerance, int blocks, std::uintptr_t stream) {
        ClusteringLaunch launch = sized(sizes, step, tensor_cores, eps, grads != 0, blocks);
        check(!tensor_cores || type != 0, "neighborhood_clustering",
              "type must be half precision for tensor cores", type);
        launch.features = pointer<const void>(features);
        launch.prototypes = pointer<const void>(prototypes);
        launch.memory = pointer<const void>(memory);
        launch.indices = pointer<const std::int64_t>(indices);
        launch.scratch = pointer<float>(scratch);
        launch.value = pointer<float>(value);
        launch.grads = pointer<float>(grads);
        launch.inv_temperature = inv_temperature;
        launch.tolerance = tolerance;
        py::gil_scoped_release released;
        neighborhood_clustering_cuda(launch, type, pointer<void>(stream));
      },
      py::kw_only(), py::arg("features"), py::arg("prototypes"), py::arg("memory"),
      py::arg("indices"), py::arg("scratch"), py::arg("value"), py::arg("grads"), py::arg("type"),
      py::arg("sizes"), py::arg("step"), py::arg("tensor_cores"), py::arg("inv_temperature"),
      py::arg("eps"), py::arg("tolerance"), py::arg("blocks"), py::arg("stream"));
#else
  (void)m;
#endif
}

}  // namespace fastbrain

// The extension: what this build is and runs on; each family binds its entry points in bind_*.cpp,
// which check arguments and release the GIL.
#include <cstdlib>
#include <string>

#include "bind.h"
#include "finite.h"
#if defined(FASTBRAIN_CUDA) && !defined(FASTBRAIN_CUDA_EMULATED)
#include "device.h"
#endif

namespace py = pybind11;

namespace fastbrain {

namespace {

py::object devices() {
#if defined(FASTBRAIN_CUDA_EMULATED)
  return py::str("CUDA is emulated on the host");
#elif defined(FASTBRAIN_CUDA)
  std::string reason;
  py::list rows;
  for (const Device& device : cuda_devices(reason)) {
    rows.append(py::dict(py::arg("name") = device.name,
                         py::arg("capability") = py::make_tuple(device.major, device.minor),
                         py::arg("multiprocessors") = device.multiprocessors,
                         py::arg("memory_bytes") = device.memory));
  }
  if (reason.empty()) return rows;
  return py::str(reason);
#else
  return py::str("built without CUDA: nvcc was not found");
#endif
}

}  // namespace
}  // namespace fastbrain

PYBIND11_MODULE(_native, m, py::mod_gil_not_used()) {
  using namespace fastbrain;
  m.doc() = "fastbrain's compiled kernels: memory in, memory out, not linked against torch.";
  const Isa isa = choose_isa();

  m.def("isa", [isa] { return isa_name(isa); }, "Instruction set that runs.");
  m.def(
      "isas",
      [] {
        py::list names;
        for (Isa available : available_isas()) names.append(isa_name(available));
        return names;
      },
      "Instruction sets this machine can run, slowest first.");
  m.def(
      "cuda_compiled",
      [] {
#ifdef FASTBRAIN_CUDA
        return true;
#else
        return false;
#endif
      },
      "Whether CUDA sources were part of the build.");
  m.def(
      "cuda_emulated",
      [] {
#ifdef FASTBRAIN_CUDA_EMULATED
        return true;
#else
        return false;
#endif
      },
      "Whether CUDA kernels run on host memory, as some tests build them.");
  m.def(
      "environment", [](const char* name) { return std::getenv(name); },
      "A variable of the environment, or None: os.environ decodes it at every look.");
  m.def("cuda_devices", &devices, "List of devices, or the reason why there is none.");
  m.def(
      "all_below",
      [](std::uintptr_t values, int type, std::int64_t count, int power, int threads) {
        check(type >= 0 && type <= 3, "all_below", "type must be in [0, 3]", type);
        check_array("all_below", values, count);
        check_threads("all_below", threads);
        py::gil_scoped_release released;
        return all_below(pointer<const void>(values), static_cast<DType>(type), count, power,
                         threads);
      },
      "Whether every number of a contiguous array is finite and below 2^power in absolute value.");
  m.def(
      "all_within",
      [](std::uintptr_t values, std::int64_t count, std::int64_t end) {
        check_array("all_within", values, count);
        return all_within(pointer<const std::int64_t>(values), count, end);
      },
      "Whether every number of a contiguous int64 array is in [0, end).");
  m.def(
      "all_unit",
      [](std::uintptr_t values, int type, std::int64_t rows, std::int64_t width, double tolerance) {
        check(type == 0 || type == 3, "all_unit", "type must be 0 or 3", type);
        check(rows >= 0 && width >= 0, "all_unit", "sizes must not be negative",
              rows < 0 ? rows : width);
        check(values != 0 || rows * width == 0, "all_unit", "values must not be null", 0);
        return all_unit(pointer<const void>(values), static_cast<DType>(type), rows, width,
                        tolerance);
      },
      "Whether every row of a contiguous matrix has a norm within the tolerance of 1.");

  bind_tensor(m);
  bind_decoder(m, isa);
  bind_lora(m, isa);
  bind_neighborhood(m, isa);
  bind_neighborhood_cuda(m);
  bind_neighborhood_tiles(m, isa);
  bind_voxel_tokenizer(m, isa);
  bind_vq(m, isa);
  bind_arguments(m);
}

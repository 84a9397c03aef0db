// Reading tensors by the C interface of DLPack 1.3, which a tensor's class offers as
// `__dlpack_c_exchange_api__` (https://dmlc.github.io/dlpack/latest/python_spec.html).
#include "bind_tensor.h"

#include <algorithm>

#include "bind.h"

namespace py = pybind11;

namespace fastbrain {

namespace {

// Layouts of the binary interface; the names are ours.
struct View {
  void* data;
  std::int32_t device_type, device_id, dims;
  std::uint8_t kind, bits;
  std::uint16_t lanes;
  std::int64_t *shape, *strides;
  std::uint64_t byte_offset;
};

struct Interface {
  std::uint32_t major, minor;
  Interface* previous;
  void* of_owned[3];
  int (*view)(void* value, View* out);
  void* stream;
};

constexpr std::uint32_t kMajor = 1;
constexpr std::int32_t kCpu = 1;
constexpr std::uint8_t kInt = 0, kFloat = 2, kBfloat = 4, kBool = 6;

// set once, when the package is imported
const Interface* interface = nullptr;
PyObject *tensor_class = nullptr, *parameter_class = nullptr, *requires_grad = nullptr;

struct KnownType {
  std::uint8_t kind, bits;
  DType type;
};

constexpr KnownType kTypes[] = {{kFloat, 32, DType::kFloat32},   {kFloat, 16, DType::kFloat16},
                                {kBfloat, 16, DType::kBfloat16}, {kFloat, 64, DType::kFloat64},
                                {kInt, 16, DType::kInt16},       {kInt, 64, DType::kInt64},
                                {kBool, 8, DType::kBool}};

bool type_of(const View& view, DType& type) {
  for (const KnownType& known : kTypes) {
    if (view.kind != known.kind || view.bits != known.bits || view.lanes != 1) continue;
    type = known.type;
    return true;
  }
  return false;
}

bool in_order(const View& view) {
  std::int64_t step = 1;
  for (int axis = view.dims - 1; axis >= 0; --axis) {
    const std::int64_t size = view.shape[axis];
    if (size == 0) return true;
    if (size != 1 && view.strides[axis] != step) return false;
    step *= size;
  }
  return true;
}

}  // namespace

bool PlainTensor::is(DType wanted, std::initializer_list<std::int64_t> sizes) const {
  return plain && type == wanted && dims == static_cast<int>(sizes.size()) &&
         std::equal(sizes.begin(), sizes.end(), shape);
}

std::int64_t PlainTensor::numel() const {
  std::int64_t count = 1;
  for (int axis = 0; axis < dims; ++axis) count *= shape[axis];
  return count;
}

PlainTensor plain_tensor(PyObject* value) {
  PlainTensor tensor;
  auto* of = reinterpret_cast<PyObject*>(Py_TYPE(value));
  if (interface == nullptr || (of != tensor_class && of != parameter_class)) return tensor;
  View view;
  DType type = DType::kFloat32;
  // a tensor without memory of its own, for example inside torch.func, raises
  if (interface->view(value, &view) != 0) {
    PyErr_Clear();
    return tensor;
  }
  if (view.device_type != kCpu || !type_of(view, type) || !in_order(view)) return tensor;
  PyObject* graded = PyObject_GetAttr(value, requires_grad);
  if (graded == nullptr) {
    PyErr_Clear();
    return tensor;
  }
  tensor.graded = graded == Py_True;
  Py_DECREF(graded);
  tensor.data = static_cast<const char*>(view.data) + view.byte_offset;
  tensor.shape = view.shape;
  tensor.dims = view.dims;
  tensor.type = type;
  tensor.plain = true;
  return tensor;
}

void bind_tensor(py::module_& m) {
  m.def(
      "read_tensors",
      [](py::handle tensor, py::handle parameter, py::handle capsule) {
        if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return false;
        auto* found =
            static_cast<Interface*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
        while (found != nullptr && found->major != kMajor) found = found->previous;
        if (found == nullptr) return false;
        tensor_class = tensor.inc_ref().ptr();
        parameter_class = parameter.inc_ref().ptr();
        requires_grad = PyUnicode_InternFromString("requires_grad");
        interface = found;
        return true;
      },
      "Read tensors of these two classes by their DLPack interface; false if its version is "
      "another one.");
  m.def(
      "is_plain", [](py::handle value) { return plain_tensor(value.ptr()).plain; },
      "Whether a value is a dense CPU tensor in order, and of no subclass.");
}

}  // namespace fastbrain

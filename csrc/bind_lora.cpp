// Python entry points of the adapted linear layer.
#include <algorithm>
#include <array>
#include <cmath>
#include <new>

#include "bind.h"
#include "bind_tensor.h"
#include "lora.h"
#include "lora_ways.h"

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

namespace {

constexpr int kMostAxes = 8;

// A layer with plainly right arguments; `out`, activation and scale are not set.
struct Layer {
  LoraRows rows;
  PlainTensor x;
  bool graded;  // autograd may need a gradient
};

// False where only the checks of the Python layer can tell.
bool layer_of(PyObject* x_value, PyObject* weight_value, PyObject* bias_value, PyObject* a_value,
              PyObject* b_value, Layer& layer) {
  const PlainTensor x = plain_tensor(x_value), weight = plain_tensor(weight_value),
                    a = plain_tensor(a_value), b = plain_tensor(b_value);
  if (!x.plain || x.dims < 1 || weight.dims != 2 || a.dims != 2) return false;
  if (x.type != DType::kFloat32 && x.type != DType::kBfloat16) return false;
  const std::int64_t d_out = weight.shape[0], d_in = weight.shape[1], rank = a.shape[0];
  if (d_in < 1 || x.shape[x.dims - 1] != d_in || !weight.is(x.type, {d_out, d_in}) ||
      !a.is(x.type, {rank, d_in}) || !b.is(x.type, {d_out, rank})) {
    return false;
  }
  PlainTensor bias;
  if (bias_value != Py_None) {
    bias = plain_tensor(bias_value);
    if (!bias.is(x.type, {d_out})) return false;
  }
  layer.rows = {.x = x.data,
                .weight = weight.data,
                .bias = bias.data,
                .a = a.data,
                .b = b.data,
                .out = nullptr,
                .bfloat16 = x.type == DType::kBfloat16,
                .rows = x.numel() / d_in,
                .d_in = d_in,
                .d_out = d_out,
                .rank = rank,
                .activation = LoraActivation{},
                .scale = 1};
  layer.x = x;
  layer.graded = x.graded || weight.graded || bias.graded || a.graded || b.graded;
  return true;
}

// The activation by its number in csrc/lora.h; false for anything but None and the names.
bool activation_of(PyObject* value, LoraActivation& activation) {
  if (value == Py_None) {
    activation = LoraActivation{};
    return true;
  }
  if (!PyUnicode_CheckExact(value)) return false;
  int number = 0;
  for (const char* name : {"", "gelu", "silu", "relu"}) {
    if (PyUnicode_CompareWithASCIIString(value, name) == 0) {
      activation = static_cast<LoraActivation>(number);
      return true;
    }
    ++number;
  }
  return false;
}

// A new tensor (..., d_out) of the dtype of x (..., d_in); nullptr with an error of Python.
PyObject* new_output(PyObject* x_value, const Layer& layer) {
  static PyObject* const name = PyUnicode_InternFromString("new_empty");
  std::array<PyObject*, 1 + kMostAxes> call{x_value};
  const int axes = layer.x.dims;
  bool made = true;
  for (int axis = 0; axis < axes; ++axis) {
    call[1 + axis] = PyLong_FromLongLong(axis + 1 < axes ? layer.x.shape[axis] : layer.rows.d_out);
    made = made && call[1 + axis] != nullptr;
  }
  PyObject* out = made ? PyObject_VectorcallMethod(name, call.data(), 1 + axes, nullptr) : nullptr;
  for (int axis = 0; axis < axes; ++axis) Py_XDECREF(call[1 + axis]);
  return out;
}

Isa own_isa;

// lora_at_once(x, weight, bias, a, b, scale, activation, graded, most_rows, most_rows_bfloat16,
// least_work, threads). Without pybind11: one of its calls takes as long as a narrow layer.
PyObject* at_once(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 12) {
    PyErr_SetString(PyExc_TypeError, "lora_at_once: it takes 12 arguments.");
    return nullptr;
  }
  long long limits[4];  // most rows, the same in bfloat16, least work, threads
  for (int i = 0; i < 4; ++i) limits[i] = PyLong_AsLongLong(args[8 + i]);
  if (PyErr_Occurred()) return nullptr;
  Layer layer;
  LoraRows& rows = layer.rows;
  if (!PyFloat_CheckExact(args[5]) || limits[3] < 1 || limits[3] > 4096 ||
      !layer_of(args[0], args[1], args[2], args[3], args[4], layer) || layer.x.dims > kMostAxes ||
      !activation_of(args[6], rows.activation)) {
    Py_RETURN_NONE;
  }
  const double scale = PyFloat_AS_DOUBLE(args[5]);
  if (!std::isfinite(scale)) Py_RETURN_NONE;
  LoraWay way = LoraWay::kProducts;
  if (!layer.graded || args[7] == Py_False) {
    const bool ruled =
        rows.rows <= limits[rows.bfloat16] && rows.rows * rows.d_in * rows.d_out < limits[2];
    way = ruled ? LoraWay::kStream
                : known_way({rows.bfloat16, rows.rows, rows.d_out, rows.d_in, limits[3]});
  }
  if (way != LoraWay::kStream) {
    return Py_BuildValue("LLLO", static_cast<long long>(rows.rows),
                         static_cast<long long>(rows.d_out), static_cast<long long>(rows.d_in),
                         way == LoraWay::kUnknown ? Py_True : Py_False);
  }
  PyObject* out = new_output(args[0], layer);
  if (out == nullptr) return nullptr;
  const PlainTensor found = plain_tensor(out);
  // a mode of PyTorch may have made a tensor without memory
  if (!found.plain) {
    Py_DECREF(out);
    Py_RETURN_NONE;
  }
  rows.scale = static_cast<float>(scale);
  rows.out = const_cast<void*>(found.data);
  bool done = false;
  Py_BEGIN_ALLOW_THREADS;
  done = lora(own_isa, rows).few(rows, static_cast<int>(limits[3]));
  Py_END_ALLOW_THREADS;
  if (done) return out;
  Py_DECREF(out);
  return PyErr_NoMemory();
}

PyMethodDef kAtOnce[] = {
    {"lora_at_once", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&at_once)),
     METH_FASTCALL,
     "The layer (..., d_out) of plainly right arguments; rows, d_out, d_in and whether a way must "
     "be chosen, where the products of PyTorch may be faster or a gradient is wanted; None where "
     "only the full checks can tell."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void bind_lora(py::module_& m, Isa isa) {
  own_isa = isa;
  if (PyModule_AddFunctions(m.ptr(), kAtOnce) != 0) throw py::error_already_set();
  m.def(
      "lora_remember",
      [](bool bfloat16, std::int64_t rows, std::int64_t d_out, std::int64_t d_in, int threads,
         bool stream) {
        remember_way({bfloat16, rows, d_out, d_in, threads},
                     stream ? LoraWay::kStream : LoraWay::kProducts);
      },
      "Set the way that lora_at_once takes for a shape, while FASTBRAIN_MEASURE is as it is.");
  m.def("lora_forget", &forget_ways, "Forget all of lora_remember.");
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
        check(out != 0 || rows * d_out == 0, function, "out must not be null", 0);
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

// Python entry points of the neighbourhood entropy.
#include <new>

#include "bind.h"
#include "bind_tensor.h"
#include "finite.h"
#include "neighborhood.h"
#include "neighborhood_scores.h"

namespace py = pybind11;

namespace fastbrain {

namespace {

template <typename Number>
std::int64_t run(Isa isa, const Neighborhood<Number>& problem, int threads) {
  return FASTBRAIN_OF_ISA(isa, neighborhood_entropy(problem, threads));
}

template <typename Number>
void bind_entropy(py::module_& m, Isa isa, const char* name) {
  m.def(
      name,
      [isa](std::uintptr_t features, std::uintptr_t memory, int stored, std::uintptr_t indices,
            std::uintptr_t others, std::int64_t own, py::tuple sizes, Number inv_temperature,
            Number eps, std::uintptr_t entropy, std::uintptr_t grad_features,
            std::uintptr_t grad_others, int threads) {
        const char* function = "neighborhood_entropy";
        check(sizes.size() == 5, function,
              "sizes must be (batch, width, size, memory_step, extras)",
              static_cast<std::int64_t>(sizes.size()));
        std::int64_t size[5];
        for (int i = 0; i < 5; ++i) {
          size[i] = sizes[static_cast<std::size_t>(i)].cast<std::int64_t>();
          check(size[i] >= 1, function, "sizes must be positive", size[i]);
        }
        check(own < 0 || own + size[0] == size[4], function,
              "own must leave a column for each sample", own);
        check(size[3] >= size[1], function, "memory_step must not be below the width", size[3]);
        check(stored >= 0 && stored <= 3, function, "stored must be in [0, 3]", stored);
        check(features && memory && indices && others && entropy, function,
              "addresses must not be null", 0);
        check((grad_features == 0) == (grad_others == 0), function,
              "gradients must be wanted together", 0);
        check_threads(function, threads);
        const Neighborhood<Number> problem{.features = pointer<const Number>(features),
                                           .memory = pointer<const void>(memory),
                                           .stored = static_cast<DType>(stored),
                                           .indices = pointer<const std::int64_t>(indices),
                                           .others = pointer<const Number>(others),
                                           .own = own,
                                           .batch = size[0],
                                           .width = size[1],
                                           .size = size[2],
                                           .memory_step = size[3],
                                           .extras = size[4],
                                           .inv_temperature = inv_temperature,
                                           .eps = eps,
                                           .entropy = pointer<Number>(entropy),
                                           .grad_features = pointer<Number>(grad_features),
                                           .grad_others = pointer<Number>(grad_others)};
        py::gil_scoped_release released;
        const std::int64_t result = run(isa, problem, threads);
        if (result == kNoMemory) throw std::bad_alloc();
        return result;
      },
      py::arg("features"), py::arg("memory"), py::arg("stored"), py::arg("indices"),
      py::arg("others"), py::arg("own"), py::arg("sizes"), py::arg("inv_temperature"),
      py::arg("eps"), py::arg("entropy"), py::arg("grad_features"), py::arg("grad_others"),
      py::arg("threads"),
      "Mean entropy and its gradients; returns the number of a row that is not normalised, or "
      "-1.");
}

// Few samples, with arguments that are plainly right except for their values, checked here.
void bind_small(py::module_& m, Isa isa) {
  m.def(
      "neighborhood_small",
      [isa](py::handle features_value, py::handle prototypes_value, py::handle memory_value,
            py::handle indices_value, double temperature, float eps, double tolerance,
            std::int64_t widest, bool graded, py::handle entropy_value, int threads) {
        check_threads("neighborhood_small", threads);
        const PlainTensor features = plain_tensor(features_value.ptr()),
                          prototypes = plain_tensor(prototypes_value.ptr()),
                          memory = plain_tensor(memory_value.ptr()),
                          indices = plain_tensor(indices_value.ptr()),
                          entropy = plain_tensor(entropy_value.ptr());
        if (features.dims != 2 || prototypes.dims != 2 || memory.dims != 2) return false;
        const std::int64_t batch = features.shape[0], width = features.shape[1],
                           classes = prototypes.shape[0], size = memory.shape[0];
        if (batch < 1 || width < 1 || width > widest || classes < 1 || size < 1 ||
            !features.is(DType::kFloat32, {batch, width}) ||
            !prototypes.is(DType::kFloat32, {classes, width}) ||
            !memory.is(DType::kFloat32, {size, width}) || !indices.is(DType::kInt64, {batch}) ||
            !entropy.is(DType::kFloat32, {}) ||
            (graded && (features.graded || prototypes.graded))) {
          return false;
        }
        const bool dance = eps > 0;
        const Neighborhood<float> problem{
            .features = static_cast<const float*>(features.data),
            .memory = memory.data,
            .stored = DType::kFloat32,
            .indices = static_cast<const std::int64_t*>(indices.data),
            .others = static_cast<const float*>(prototypes.data),
            .own = dance ? classes : -1,
            .batch = batch,
            .width = width,
            .size = size,
            .memory_step = width,
            .extras = classes + (dance ? batch : 0),
            .inv_temperature = static_cast<float>(1 / temperature),
            .eps = eps,
            .entropy = static_cast<float*>(const_cast<void*>(entropy.data)),
            .grad_features = nullptr,
            .grad_others = nullptr};
        py::gil_scoped_release released;
        if (!all_within(problem.indices, batch, size) ||
            !all_unit(problem.features, DType::kFloat32, batch, width, tolerance) ||
            !all_unit(problem.others, DType::kFloat32, classes, width, tolerance)) {
          return false;
        }
        const std::int64_t result = run(isa, problem, threads);
        if (result == kNoMemory) throw std::bad_alloc();
        return result == kDone;
      },
      // by position: names take longer than a few samples
      "Features, prototypes, memory and indices; temperature, eps (0: exact), tolerance of norms, "
      "largest width, whether gradients are on, the tensor for the entropy, threads. False where "
      "checks must tell.");
}

template <typename Number>
std::int64_t weigh(Isa isa, const Scores<Number>& scores, int threads) {
  return FASTBRAIN_OF_ISA(isa, neighborhood_weights(scores, threads));
}

template <typename Number>
void measure(Isa isa, const Rows<Number>& rows, int threads) {
  return FASTBRAIN_OF_ISA(isa, neighborhood_norms(rows, threads));
}

template <typename Number>
void bind_weights(py::module_& m, Isa isa, const char* name) {
  m.def(
      name,
      [isa](std::uintptr_t scores, std::int64_t block, std::int64_t step, Number factor,
            std::uintptr_t norms, std::uintptr_t indices, std::int64_t own, std::int64_t batch,
            std::int64_t size, std::int64_t extras, Number eps, std::uintptr_t entropy,
            bool weights, int threads) {
        const char* function = "neighborhood_weights";
        for (const std::int64_t value : {batch, size, extras}) {
          check(value >= 1, function, "sizes must be positive", value);
        }
        check(block >= 0 && block % kScoreRows == 0, function, "block must be a multiple of 512",
              block);
        check(block > 0 || (step >= batch && step % kScoreLanes == 0), function,
              "step must be a multiple of 16 that holds the batch", step);
        check(own < 0 || own + batch <= extras, function, "own must leave a column for each sample",
              own);
        check(scores && norms && indices && entropy, function, "addresses must not be null", 0);
        check_threads(function, threads);
        const Scores<Number> all{.scores = pointer<void>(scores),
                                 .block = block,
                                 .step = step,
                                 .factor = factor,
                                 .norms = pointer<const Number>(norms),
                                 .indices = pointer<const std::int64_t>(indices),
                                 .own = own,
                                 .batch = batch,
                                 .size = size,
                                 .extras = extras,
                                 .eps = eps,
                                 .entropy = pointer<Number>(entropy),
                                 .weights = weights};
        py::gil_scoped_release released;
        const std::int64_t result = weigh(isa, all, threads);
        if (result == kNoMemory) throw std::bad_alloc();
        return result;
      },
      py::kw_only(), py::arg("scores"), py::arg("block"), py::arg("step"), py::arg("factor"),
      py::arg("norms"), py::arg("indices"), py::arg("own"), py::arg("batch"), py::arg("size"),
      py::arg("extras"), py::arg("eps"), py::arg("entropy"), py::arg("weights"), py::arg("threads"),
      "Mean entropy of stored similarities, which become derivatives of the logits; returns as "
      "neighborhood_entropy does.");
}

template <typename Number>
void bind_norms(py::module_& m, Isa isa, const char* name) {
  m.def(
      name,
      [isa](std::uintptr_t values, int stored, std::int64_t size, std::int64_t width,
            std::int64_t step, std::uintptr_t norms, int threads) {
        const char* function = "neighborhood_norms";
        check(size >= 0 && width >= 0, function, "sizes must not be negative",
              size < 0 ? size : width);
        check(step >= width, function, "step must not be below the width", step);
        check(stored >= 0 && stored <= 3, function, "stored must be in [0, 3]", stored);
        check(size == 0 || (values && norms), function, "addresses must not be null", 0);
        check_threads(function, threads);
        const Rows<Number> rows{.values = pointer<const void>(values),
                                .stored = static_cast<DType>(stored),
                                .size = size,
                                .width = width,
                                .step = step,
                                .norms = pointer<Number>(norms)};
        py::gil_scoped_release released;
        measure(isa, rows, threads);
      },
      py::kw_only(), py::arg("values"), py::arg("stored"), py::arg("size"), py::arg("width"),
      py::arg("step"), py::arg("norms"), py::arg("threads"), "Norms of rows of any float type.");
}

}  // namespace

void bind_neighborhood(py::module_& m, Isa isa) {
  bind_entropy<float>(m, isa, "neighborhood_entropy");
  bind_entropy<double>(m, isa, "neighborhood_entropy_double");
  bind_small(m, isa);
  bind_weights<float>(m, isa, "neighborhood_weights");
  bind_weights<double>(m, isa, "neighborhood_weights_double");
  bind_norms<float>(m, isa, "neighborhood_norms");
  bind_norms<double>(m, isa, "neighborhood_norms_double");
}

}  // namespace fastbrain

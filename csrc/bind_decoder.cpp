// Python entry point of the decoder step.
#include <algorithm>
#include <bit>
#include <memory>
#include <new>
#include <vector>

#include "bind.h"
#include "decoder.h"

namespace py = pybind11;

namespace fastbrain {

const Decoder& decoder(Isa isa) { return FASTBRAIN_OF_ISA(isa, decoder); }

namespace {

const float* floats(const py::handle& address) {
  return pointer<const float>(address.cast<std::uintptr_t>());
}

// (weight, row_scale, bias, a, b, d_in, d_out, rank, type, activation, scale), or None
DecoderLinear linear_of(const py::handle& given) {
  DecoderLinear l{};
  if (given.is_none()) return l;
  const auto t = given.cast<py::tuple>();
  check(t.size() == 11, "decoder", "a linear layer must have 11 values",
        static_cast<std::int64_t>(t.size()));
  l.weight = pointer<const void>(t[0].cast<std::uintptr_t>());
  l.row_scale = floats(t[1]);
  l.bias = floats(t[2]);
  l.a = floats(t[3]);
  l.b = floats(t[4]);
  l.d_in = t[5].cast<std::int64_t>();
  l.d_out = t[6].cast<std::int64_t>();
  l.rank = t[7].cast<std::int64_t>();
  const int type = t[8].cast<int>(), activation = t[9].cast<int>();
  check(type >= 0 && type <= 2, "decoder", "weight type must be in [0, 2]", type);
  check(activation >= 0 && activation <= 4, "decoder", "activation must be in [0, 4]", activation);
  check(l.d_in > 0 && l.d_out > 0 && l.rank >= 0, "decoder", "widths must be positive", l.d_in);
  l.type = static_cast<DecoderWeight>(type);
  l.activation = static_cast<DecoderActivation>(activation);
  l.scale = t[10].cast<float>();
  return l;
}

// (weight, bias, eps), or None
DecoderNorm norm_of(const py::handle& given) {
  if (given.is_none()) return {};
  const auto t = given.cast<py::tuple>();
  return {floats(t[0]), floats(t[1]), t[2].cast<float>()};
}

// Embeddings (vocabulary, width) in float32 or bfloat16, or nullptr.
struct EmbeddingTable {
  const void* rows;
  bool bfloat16;
  std::int64_t vocabulary;
};

struct BoundDecoder {
  std::vector<DecoderLayer> layers;
  EmbeddingTable table;
  DecoderModel model;
  Isa isa;
};

// The embeddings of tokens as float32.
std::vector<float> embedded(const BoundDecoder& self, const std::vector<std::int64_t>& tokens) {
  const std::int64_t width = self.model.width;
  std::vector<float> found(tokens.size() * width);
  float* to = found.data();
  for (const std::int64_t token : tokens) {
    check(token >= 0 && token < self.table.vocabulary, "decoder", "tokens must be in the table",
          token);
    if (self.table.bfloat16) {
      const auto* from = static_cast<const std::uint16_t*>(self.table.rows) + token * width;
      for (std::int64_t i = 0; i < width; ++i) to[i] = std::bit_cast<float>(from[i] << 16);
    } else {
      std::copy_n(static_cast<const float*>(self.table.rows) + token * width, width, to);
    }
    to += width;
  }
  return found;
}

// A layer with the widths that the workspace of a step has room for.
void check_linear(const DecoderLinear& l, std::int64_t d_in, std::int64_t d_out) {
  check(l.weight != nullptr, "decoder", "weight must not be null", 0);
  check(l.d_in == d_in, "decoder", "d_in must be a width of the model", l.d_in);
  check(l.d_out == d_out, "decoder", "d_out must be a width of the model", l.d_out);
  check(l.rank == 0 || (l.a != nullptr && l.b != nullptr), "decoder",
        "a and b must not be null where there is a rank", l.rank);
}

void check_model(const DecoderModel& m) {
  check(m.width > 0 && m.head_width > 0 && m.hidden > 0, "decoder", "widths must be positive",
        m.width);
  check(m.key_heads > 0 && m.heads > 0 && m.heads % m.key_heads == 0, "decoder",
        "heads must be a multiple of key_heads", m.heads);
  const std::int64_t queries = m.heads * m.head_width, keys = m.key_heads * m.head_width;
  bool normed = m.norm.weight != nullptr;
  for (std::int64_t i = 0; i < m.depth; ++i) {
    const DecoderLayer& l = m.layers[i];
    check_linear(l.q, m.width, queries);
    check_linear(l.k, m.width, keys);
    check_linear(l.v, m.width, keys);
    check_linear(l.out, queries, m.width);
    if (l.gate.weight != nullptr) check_linear(l.gate, m.width, m.hidden);
    check_linear(l.up, m.width, m.hidden);
    check_linear(l.down, m.hidden, m.width);
    normed = normed && l.before_attention.weight != nullptr && l.before_mlp.weight != nullptr;
  }
  check_linear(m.head, m.width, m.head.d_out);
  check(normed, "decoder", "norms before attention, MLP and head must have a weight", 0);
}

DecoderLayer layer_of(const py::dict& d) {
  return {.before_attention = norm_of(d["before_attention"]),
          .q_norm = norm_of(d["q_norm"]),
          .k_norm = norm_of(d["k_norm"]),
          .after_attention = norm_of(d["after_attention"]),
          .before_mlp = norm_of(d["before_mlp"]),
          .after_mlp = norm_of(d["after_mlp"]),
          .q = linear_of(d["q"]),
          .k = linear_of(d["k"]),
          .v = linear_of(d["v"]),
          .out = linear_of(d["out"]),
          .gate = linear_of(d["gate"]),
          .up = linear_of(d["up"]),
          .down = linear_of(d["down"]),
          .cosines = floats(d["cosines"]),
          .sines = floats(d["sines"]),
          .scale = d["scale"].cast<float>(),
          .window = d["window"].cast<std::int64_t>()};
}

}  // namespace

void bind_decoder(py::module_& m, Isa isa) {
  py::class_<BoundDecoder>(m, "Decoder", "A model whose weights the caller keeps alive.")
      .def(py::init([isa](const py::list& layers, const py::dict& rest) {
             auto made = std::make_unique<BoundDecoder>();
             for (const py::handle& one : layers) {
               made->layers.push_back(layer_of(one.cast<py::dict>()));
             }
             const int activation = rest["activation"].cast<int>();
             check(activation >= 0 && activation <= 4, "decoder", "activation must be in [0, 4]",
                   activation);
             made->isa = isa;
             // its width is that of the model
             const auto table = rest["table"].cast<py::tuple>();
             made->table = {pointer<const void>(table[0].cast<std::uintptr_t>()),
                            table[1].cast<bool>(), table[2].cast<std::int64_t>()};
             made->model = {.layers = made->layers.data(),
                            .depth = static_cast<std::int64_t>(made->layers.size()),
                            .width = rest["width"].cast<std::int64_t>(),
                            .heads = rest["heads"].cast<std::int64_t>(),
                            .key_heads = rest["key_heads"].cast<std::int64_t>(),
                            .head_width = rest["head_width"].cast<std::int64_t>(),
                            .hidden = rest["hidden"].cast<std::int64_t>(),
                            .positions = floats(rest["positions"]),
                            .norm = norm_of(rest["norm"]),
                            .head = linear_of(rest["head"]),
                            .activation = static_cast<DecoderActivation>(activation),
                            .attention_cap = rest["attention_cap"].cast<float>(),
                            .logit_cap = rest["logit_cap"].cast<float>()};
             check_model(made->model);
             return made;
           }),
           py::arg("layers"), py::arg("rest"))
      .def(
          "step",
          [](const BoundDecoder& self, const std::vector<std::int64_t>& tokens,
             std::uintptr_t embeds, const std::vector<std::int64_t>& rows,
             const std::vector<std::int64_t>& places, std::uintptr_t keys, std::uintptr_t values,
             std::uintptr_t logits, std::int64_t cache_rows, std::int64_t length, int threads) {
            const auto count = static_cast<std::int64_t>(rows.size());
            check(places.size() == rows.size(), "decoder", "places must be as many as rows",
                  static_cast<std::int64_t>(places.size()));
            std::vector<float> own;
            if (embeds == 0) {
              check(tokens.size() == rows.size(), "decoder", "tokens must be as many as rows",
                    static_cast<std::int64_t>(tokens.size()));
              own = embedded(self, tokens);
            }
            const float* from = embeds == 0 ? own.data() : pointer<const float>(embeds);
            const DecoderStep step{.embeds = from,
                                   .rows = rows.data(),
                                   .places = places.data(),
                                   .keys = pointer<float>(keys),
                                   .values = pointer<float>(values),
                                   .logits = pointer<float>(logits),
                                   .count = count,
                                   .cache_rows = cache_rows,
                                   .length = length};
            check_threads("decoder", threads);
            for (std::int64_t i = 0; i < count; ++i) {
              check(step.rows[i] >= 0 && step.rows[i] < cache_rows, "decoder",
                    "rows must be rows of the cache", step.rows[i]);
              check(step.places[i] >= 0 && step.places[i] < length, "decoder",
                    "places must be within the cache", step.places[i]);
            }
            py::gil_scoped_release released;
            if (!decoder(self.isa).step(self.model, step, threads)) throw std::bad_alloc();
          },
          py::kw_only(), py::arg("tokens"), py::arg("embeds"), py::arg("rows"), py::arg("places"),
          py::arg("keys"), py::arg("values"), py::arg("logits"), py::arg("cache_rows"),
          py::arg("length"), py::arg("threads"));
  m.def(
      "likeliest",
      [isa](std::uintptr_t logits, std::int64_t count, std::int64_t vocabulary,
            const std::vector<std::int64_t>& never) {
        check(count >= 0 && vocabulary > 0, "likeliest", "sizes must be positive", vocabulary);
        std::vector<std::int64_t> found(count);
        const float* row = pointer<const float>(logits);
        for (std::int64_t i = 0; i < count; ++i, row += vocabulary) {
          found[i] = decoder(isa).pick(row, vocabulary, never.data(),
                                       static_cast<std::int64_t>(never.size()));
        }
        return found;
      },
      "The likeliest token of each row that is not one of `never`; -1 if the row has NaN or "
      "plus infinity, or no finite number is left.");
}

}  // namespace fastbrain

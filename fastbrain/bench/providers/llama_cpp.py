"""The decode loop of llama.cpp, through its Python binding, on a copy of the Llama of a problem."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..registry import Provider, Setting, Way
from .needs import first, missing

# as in fastbrain.bench.cases.decode: no text may end early
EOS = 2


def _runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    device = "its wheels on PyPI compute on the CPU" if setting.on_gpu else None
    packages = missing("llama_cpp", "llama-cpp-python"), missing("gguf", "gguf")
    return first(device, *packages)


def _way(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """Embeddings in, greedy tokens out; keys and values are kept as the weights are."""
    import gguf
    import llama_cpp as cpp

    embeds, new = inputs["embeds"][0].float().numpy(), inputs["new_tokens"]
    length, width = embeds.shape
    vocabulary = inputs["llm"].config.vocab_size
    kinds = gguf.GGMLQuantizationType
    kind = kinds.BF16 if setting.dtype == torch.bfloat16 else kinds.F32
    _say_nothing(cpp)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        write_llama(inputs["llm"], path)
        model = cpp.llama_model_load_from_file(bytes(path), cpp.llama_model_default_params())
    options = cpp.llama_context_default_params()
    options.n_ctx = options.n_batch = options.n_ubatch = length + new
    options.n_threads = options.n_threads_batch = torch.get_num_threads()
    options.type_k = options.type_v = int(kind)
    context = cpp.llama_init_from_model(model, options)
    prompt, step = cpp.llama_batch_init(length, width, 1), cpp.llama_batch_init(1, 0, 1)
    ctypes.memmove(prompt.embd, embeds.ctypes.data, embeds.nbytes)
    _place(prompt, range(length))

    def way() -> Tensor:
        cpp.llama_memory_clear(cpp.llama_get_memory(context), False)
        batch, found = prompt, []
        for position in range(length, length + new):
            if cpp.llama_decode(context, batch):
                raise RuntimeError("llama_decode failed")
            logits = np.ctypeslib.as_array(cpp.llama_get_logits_ith(context, -1), (vocabulary,))
            logits[EOS] = -np.inf
            found.append(int(logits.argmax()))
            batch = step
            batch.token[0] = found[-1]
            _place(batch, [position])
        return torch.tensor([found])

    return way


def _place(batch: Any, positions: Any) -> None:
    """Tokens of one sequence, of which the last one gives logits."""
    batch.n_tokens = len(positions)
    for i, position in enumerate(positions):
        batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = position, 1, 0
        batch.logits[i] = i == len(positions) - 1


def _say_nothing(cpp: Any) -> None:
    """It logs every tensor; the callback has to outlive it."""
    global _silence
    _silence = cpp.llama_log_callback(lambda *_: None)
    cpp.llama_log_set(_silence, None)


_silence: Any = None


def write_llama(llm: Any, path: Path) -> None:
    """Write a Llama of transformers as GGUF, without a vocabulary."""
    import gguf

    config = llm.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in llm.state_dict().items():
        value, kind = weight.float(), gguf.GGMLQuantizationType.F32
        for part, heads in (
            ("q_proj", config.num_attention_heads),
            ("k_proj", config.num_key_value_heads),
        ):
            if part in name:
                # it rotates neighbours, transformers the halves of a head
                value = value.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(value.shape)
        array = value.contiguous().numpy()
        if weight.dtype == torch.bfloat16 and weight.dim() == 2:
            kind = gguf.GGMLQuantizationType.BF16
            array = value.contiguous().bfloat16().view(torch.uint8).numpy()
        placed = names.get_name(name, (".weight",))
        assert placed is not None
        writer.add_tensor(placed, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


PROVIDERS = tuple(Provider("llama_cpp", op, _way, _runs) for op in ("decode", "generate"))

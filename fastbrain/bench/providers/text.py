"""Text and training steps of other packages: static caches, flash-attn, Liger and vLLM."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..registry import Provider, Setting, Way
from .needs import first, missing, needs_gpu


def _static(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """Hugging Face's loop with a cache of fixed size, not compiled."""
    return lambda: inputs["generate"](
        inputs["llm"], cache_implementation="static", disable_compile=True
    )


def _flash_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    half = None if setting.dtype != torch.float32 else "computes in half precision only"
    return first(needs_gpu(setting), half, missing("flash_attn", "flash-attn"))


def _flash(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """Hugging Face's loop with flash-attn."""
    llm = copy.deepcopy(inputs["llm"])
    llm.set_attn_implementation("flash_attention_2")
    return lambda: inputs["generate"](llm)


def _vllm_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    return first(needs_gpu(setting), missing("vllm", "vllm"))


def _vllm(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """VLLM from prompt embeddings; the model is copied through a temporary folder."""
    from vllm import LLM, SamplingParams

    embeds, new = inputs["embeds"][0], inputs["new_tokens"]
    with tempfile.TemporaryDirectory() as folder:
        inputs["llm"].save_pretrained(folder)
        llm = LLM(
            folder,
            enable_prompt_embeds=True,
            skip_tokenizer_init=True,
            dtype=setting.precision,
            max_model_len=len(embeds) + new,
            gpu_memory_utilization=0.5,
        )
    sampling = SamplingParams(temperature=0.0, max_tokens=new, min_tokens=new, detokenize=False)

    def way() -> Tensor:
        [found] = llm.generate({"prompt_embeds": embeds}, sampling, use_tqdm=False)
        return torch.tensor([found.outputs[0].token_ids], device=embeds.device)

    return way


def _liger_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    return first(needs_gpu(setting), missing("liger_kernel", "liger-kernel"))


def _liger(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """The straightforward step with Liger's kernels in a copy of the language model."""
    from liger_kernel.transformers import apply_liger_kernel_to_llama

    made = copy.deepcopy(inputs["model"])
    apply_liger_kernel_to_llama(
        model=made.llm, cross_entropy=False, fused_linear_cross_entropy=True
    )
    return inputs["straightforward"](made)


PROVIDERS = (
    *(Provider("hf_static", op, _static) for op in ("decode", "generate")),
    *(Provider("hf_flash_attn", op, _flash, _flash_runs) for op in ("decode", "generate")),
    Provider("vllm", "decode", _vllm, _vllm_runs),
    Provider("liger", "brainllm_step", _liger, _liger_runs),
)

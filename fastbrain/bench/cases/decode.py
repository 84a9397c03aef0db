"""Text from a prefix of brain tokens against Hugging Face's ``generate``, batch one.

``generate`` is our plain loop, ``decode`` the decode engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...decoding import DecodeEngine
from ...decoding.generation import generate
from ...decoding.sampling import Sampling
from .. import work
from ..registry import Entry, Problem, Setting


@dataclass(frozen=True)
class Size:
    """A Llama with random weights: `prefix` embeddings in, `new` tokens out."""

    width: int
    depth: int
    heads: int
    key_value_heads: int
    hidden: int
    vocabulary: int
    prefix: int = 96
    new: int = 16


SIZES = {
    "tiny": Size(256, 4, 4, 4, 1024, 8192),
    "tiny-first": Size(256, 4, 4, 4, 1024, 8192, new=1),
    "small": Size(768, 12, 12, 12, 3072, 32_000),
    "llama-1b": Size(2048, 16, 32, 8, 8192, 128_256),
    "qwen-7b": Size(3584, 28, 28, 4, 18_944, 152_064),
}


def problem(op: str, size: Size, setting: Setting) -> Problem:
    """A model of this size and one prefix."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        intermediate_size=size.hidden,
        vocab_size=size.vocabulary,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    with torch.device(setting.device):
        torch.set_default_dtype(setting.dtype)
        try:
            llm = LlamaForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(torch.float32)
    embeds = torch.randn(1, size.prefix, size.width, device=setting.device, dtype=setting.dtype)
    # no token ends the text early: both write as many
    sampling = Sampling(max_new_tokens=size.new, min_new_tokens=size.new)
    mask = torch.ones(1, size.prefix, dtype=torch.long, device=setting.device)

    def ours() -> Tensor:
        found = generate(llm, embeds, eos_token_id=2, pad_token_id=0, sampling=sampling)
        return found.tokens

    @torch.no_grad()
    def hugging_face(model: Any, **options: Any) -> Tensor:
        return model.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            max_new_tokens=size.new,
            min_new_tokens=size.new,
            do_sample=False,
            eos_token_id=2,
            pad_token_id=0,
            **options,
        )

    def theirs() -> Tensor:
        return hugging_face(llm)

    ways = {"fastbrain": ours, "hf_generate": theirs}
    if op == "decode":
        engine = DecodeEngine(llm, max_tokens=size.prefix + size.new)

        def by_engine() -> Tensor:
            found = engine.generate(embeds, sampling=sampling, eos_token_id=2)
            return torch.tensor(found.tokens, device=setting.device)

        ways |= {"fastbrain": by_engine, "fastbrain-generate": ours}
    truth = theirs()
    parameters = sum(p.numel() for p in llm.parameters())
    read = parameters - llm.get_input_embeddings().weight.numel()
    need = work.decode(read, size.prefix, size.new, embeds.element_size())
    return Problem(
        providers=ways,
        # half precision may part ways at a near tie, and then stays apart
        error=lambda _name, got: float((got[:, :4] != truth[:, :4]).double().mean()),
        limit=0.0 if setting.dtype == torch.float32 else 1.0,
        flops=need.flops,
        traffic=need.traffic,
        inputs={
            **{"llm": llm, "embeds": embeds, "new_tokens": size.new},
            "generate": hugging_face,
        },
        facts={"parameters": parameters, "prefix": size.prefix, "new_tokens": size.new},
    )


def _entry(op: str, name: str, *, rounds: int, gpu_only: bool = False) -> Entry:
    def build(setting: Setting) -> Problem:
        return problem(op, SIZES[name], setting)

    # the host looks at every token before it asks for the next
    return Entry(op, name, build, rounds, gpu_only, graph=False, limit_s=60.0)


PROVIDERS = ("fastbrain", "hf_generate", "hf_static")

ENTRIES = [
    entry
    for op in ("decode", "generate")
    for entry in (
        _entry(op, "tiny", rounds=11),
        _entry(op, "tiny-first", rounds=21),
        # plain loops of this size tell a CPU nothing new
        _entry(op, "small", rounds=5, gpu_only=op == "generate"),
        _entry(op, "llama-1b", rounds=5, gpu_only=True),
        _entry(op, "qwen-7b", rounds=3, gpu_only=True),
    )
]

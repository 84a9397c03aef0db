"""A training step of BrainLLM, against the step as one would write it down first.

Straightforward: every row is a whole sequence, the language model gives logits of every position,
labels are as long as the sequence, and what rows share is computed for each. Both do one forward
and one backward pass of the same model on the same batch, and give the same gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...brainllm import BrainLLM, BrainLLMConfig
from ..registry import Entry, Problem, Setting, relative

IGNORED = -100


@dataclass(frozen=True)
class Size:
    """A Llama with random weights, and a batch of brains, prompts and texts."""

    position: str
    brains: int
    texts: int
    prompt: int
    text: int
    width: int = 384
    depth: int = 4
    vocabulary: int = 32_000
    features: int = 200
    frames: int = 4
    one_prompt: bool = False


class _Tokenizer:
    bos_token_id, eos_token_id, pad_token_id = 1, 2, 0
    all_special_ids = (0, 1, 2)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """One token for each character; a space takes none at the start of a word."""
        return [3 + ord(character) for character in text.lstrip()]

    def decode(self, ids: list[int]) -> str:
        """The characters of tokens."""
        return "".join(chr(token - 3) for token in ids)


def model(size: Size, setting: Setting) -> BrainLLM:
    """BrainLLM without dropout, so that both ways compute the same."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.width // 64,
        intermediate_size=4 * size.width,
        vocab_size=size.vocabulary,
        tie_word_embeddings=True,
    )
    own = BrainLLMConfig(size.features, size.frames, dropout=0.0, position=size.position)
    return BrainLLM(own, llm=LlamaForCausalLM(config), text_tokenizer=_Tokenizer()).to(
        setting.device
    )


def problem(size: Size, setting: Setting) -> Problem:
    """One batch; the answer is the gradient of the decoder's last layer."""
    made = model(size, setting)
    at: dict[str, Any] = {"device": setting.device}
    windows = torch.randn(size.brains, size.frames, size.features, **at)
    prompts = torch.randint(3, size.vocabulary, (size.brains, size.prompt), **at)
    if size.one_prompt:
        prompts = prompts[:1].expand_as(prompts).contiguous()
    ids = torch.randint(3, size.vocabulary, (size.texts, size.text), **at)
    lengths = torch.randint(size.text // 2, size.text + 1, (size.texts,), **at)
    mask = torch.arange(size.text, **at) < lengths[:, None]
    shared = size.texts > size.brains
    rows = torch.arange(size.texts, **at) % size.brains

    def step(own: BrainLLM, loss: Callable[[BrainLLM], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            own.zero_grad(set_to_none=True)
            loss(own).backward()
            last: Any = own.decoder
            return last[-1].weight.grad

        return run

    def ours(own: BrainLLM) -> Tensor:
        nll = own.text_nll(windows, prompts, ids, mask, rows=rows if shared else None)
        return nll.sum() / mask.sum()

    def straightforward(own: BrainLLM) -> Tensor:
        prefix = own.prefix(windows[rows])
        before, _ = own.before_text(prefix, prompts[rows])
        embeds = torch.cat([before, own.llm.get_input_embeddings()(ids)], dim=1)
        said = torch.where(mask, ids, IGNORED)
        labels = torch.cat([said.new_full(before.shape[:2], IGNORED), said], dim=1)
        return own.llm(inputs_embeds=embeds, labels=labels, use_cache=False).loss

    truth = step(made, straightforward)().clone()
    positions = size.texts * (1 + size.prompt + size.frames + 2 + size.text)
    body = 12 * size.depth * size.width**2
    head = size.width * size.vocabulary
    ways: dict[str, Callable[[], Any]] = {
        "fastbrain": step(made, ours),
        "straightforward": step(made, straightforward),
    }
    return Problem(
        providers=ways,
        error=lambda _name, got: relative(got, truth),
        limit=1e-4,
        # of the straightforward way: forward, and backward to the activations alone
        flops=4.0 * positions * (body + head),
        traffic=4.0 * (body + head),
        inputs={"model": made, "straightforward": lambda own: step(own, straightforward)},
        facts={
            "position": size.position,
            "brains": size.brains,
            "texts": size.texts,
            "prompt_tokens": size.prompt,
            "text_tokens": size.text,
            "vocabulary": size.vocabulary,
            "parameters": sum(p.numel() for p in made.llm.parameters()),
        },
    )


SIZES = {
    # lengths as published: 32 tokens of prompt, 32 of text
    "published": Size("before-prompt", 8, 8, 32, 32),
    "one-prompt": Size("after-prompt", 8, 8, 64, 16, one_prompt=True),
    "four-texts-a-brain": Size("before-prompt", 4, 16, 64, 16),
}
PROVIDERS = ("fastbrain", "straightforward")


def _entry(name: str, size: Size) -> Entry:
    # the weights are float32, and the mask of the batch is read on the host
    options: dict[str, Any] = {"precision": "float32", "graph": False}
    return Entry("brainllm_step", name, lambda setting: problem(size, setting), 5, **options)


ENTRIES = [_entry(name, size) for name, size in SIZES.items()]

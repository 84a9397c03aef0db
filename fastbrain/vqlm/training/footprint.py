"""Shapes, parameters, memory and time of a run of :func:`train_vqlm`, without training it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from ...lm.description import empty_model, find_description
from ...lm.sources import load_tokenizer
from ..autoencoder import VQAutoencoder
from .coder_stage import CoderSettings, coder_settings
from .config import VQLMConfig
from .people import check_context

_FLOAT = 4  # bytes
_TRAINED = 4 * _FLOAT  # weight, gradient and two moments of AdamW
_BLOCK = 16  # stored vectors of the model's width per token and block, MLP of four widths
_RATE_SIZE = 768


@dataclass(frozen=True)
class StudySize:
    """Size of a study.

    Parameters
    ----------
    train, val, test : int
        People of the parts.
    regions, frames : int
        Regions, and frames of a recording (the median).
    tr : float
        Seconds.
    """

    train: int
    val: int
    test: int
    regions: int
    frames: int
    tr: float


def footprint(config: VQLMConfig, size: StudySize, *, texts: Sequence[str] = ()) -> dict[str, str]:
    """Describe what a run would train, by name of the entry.

    Parameters and sequences are exact, without words of connectivity and baselines. Memory is an
    estimate: weights, gradients and moments, and stored activations by a rule of thumb, in float32.
    Time is the number of operations divided by the rate of matrix products measured on this
    machine's CPU, a lower bound.

    Parameters
    ----------
    config : VQLMConfig
    size : StudySize
    texts : sequence of str
        Corpus of the small language model, for a configuration without a named one.

    Raises
    ------
    ConfigError
        See :func:`coder_settings`.
    InputError
        The language model cannot be read, or a sequence exceeds its context.
    """
    settings = coder_settings(config, regions=size.regions)
    rate = _rate()
    told = {
        "study": f"{size.train} people to train on, {size.val} to choose epochs, {size.test} to "
        f"score; {size.regions} regions, {size.frames} frames of {size.tr:g} s",
        "preset": f"{config.preset}, codes start {settings.code_start}",
    }
    return told | _coder(settings, size, rate) | _language(config, settings, size, texts, rate)


def _coder(settings: CoderSettings, size: StudySize, rate: float) -> dict[str, str]:
    sizes, stage = settings.sizes, settings.stage
    patches = stage.frames // sizes.patch
    model = VQAutoencoder(sizes, center=np.zeros(size.regions), spread=np.ones(size.regions))
    weights = sum(p.numel() for p in model.parameters())
    tokens = size.regions * patches
    blocks = sizes.depth + sizes.decoder_depth * (2 if sizes.spectrum else 1)
    windows = size.train * -(-(size.frames // sizes.patch) // patches)
    linear = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    # a training step has three products for each of inference; attention has two products
    work = 6 * linear * tokens + 12 * blocks * tokens**2 * sizes.dim
    kept = _BLOCK * _FLOAT * stage.batch_size * tokens * blocks * sizes.dim
    quantiser = sizes.quantiser
    return {
        "window": f"{size.regions} regions x {stage.frames} frames -> {size.regions} x {patches} "
        f"patches of {sizes.patch} -> {tokens:,} features of {sizes.dim} -> {tokens:,} codes",
        "codebook": f"{quantiser.size:,} codes of width {quantiser.width}",
        "codes": f"{size.regions * (size.frames // sizes.patch):,} of a recording, "
        f"{sizes.patch} frames of a region each",
        "autoencoder": f"{weights:,} parameters; {windows:,} windows, {stage.epochs} epochs of "
        f"batches of {stage.batch_size}",
        "coder memory": _memory(_TRAINED * weights, kept),
        "coder time": _time(work * windows * stage.epochs, rate),
    }


def _language(
    config: VQLMConfig,
    settings: CoderSettings,
    size: StudySize,
    texts: Sequence[str],
    rate: float,
) -> dict[str, str]:
    codes = size.regions * settings.steps
    if config.llm is None:
        from ...lm.word_lm import empty_small_llm, word_tokenizer

        tokenizer = word_tokenizer(texts)
        llm: Any = empty_small_llm(len(tokenizer), context=256 + codes)
        name = "a small one, trained here"
    else:
        source = find_description(config.llm, function="train_vqlm")
        llm, tokenizer, name = empty_model(source), load_tokenizer(source), config.llm
    asked = tokenizer.encode(config.question, add_special_tokens=False)
    length = codes + 2 + len(asked) + config.places
    check_context(llm, length)
    width = llm.get_input_embeddings().weight.shape[1]
    layers = getattr(llm.config, "num_hidden_layers", 1)
    own = sum(p.numel() for p in llm.parameters())
    added = (settings.sizes.quantiser.size + 2) * width
    head = llm.get_output_embeddings().weight
    inner = sum(
        p.numel()
        for n, p in llm.named_parameters()
        if p.ndim == 2 and p is not head and p is not llm.get_input_embeddings().weight
    )
    adapters = sum(
        config.rank * sum(m.weight.shape)
        for m in llm.modules()
        if _linear(m) and m.weight is not head
    )
    trained = own + added if not config.rank else adapters + added
    vocabulary = len(tokenizer) + settings.sizes.quantiser.size + 2
    # with LoRA the gradients of frozen weights are not computed
    products = 6 if not config.rank else 4
    work = products * (inner + width * vocabulary) * length + 12 * layers * length**2 * width
    rows, tune = size.train * config.draws, config.tune
    kept = _FLOAT * tune.batch_size * length * (_BLOCK * layers * width + 3 * vocabulary)
    weights = _FLOAT * (own + added) + (_TRAINED - _FLOAT) * trained
    return {
        "language model": f"{name}: {own:,} parameters and {added:,} of codes; {trained:,} trained",
        "sequence": f"{length:,} tokens: {size.regions} regions x {settings.steps} steps of codes, "
        f"question and answer; {rows:,} of them, {tune.epochs} epochs of batches of "
        f"{tune.batch_size}",
        "llm memory": _memory(weights, kept),
        "llm time": _time(work * rows * tune.epochs, rate),
    }


def _linear(module: nn.Module) -> bool:
    # GPT-2 has its linear layers in a class of its own
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _rate() -> float:
    """Operations per second of matrix products in float32 on this machine's CPU."""
    one = torch.ones(_RATE_SIZE, _RATE_SIZE)
    one @ one
    best = float("inf")
    for _ in range(3):
        start = perf_counter()
        one @ one
        best = min(best, perf_counter() - start)
    return 2 * _RATE_SIZE**3 / best


def _time(operations: float, rate: float) -> str:
    seconds = operations / rate
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return _at(operations, f"{seconds / length:.1f} {unit}", rate)
    return _at(operations, f"{seconds:.1f} s", rate)


def _at(operations: float, span: str, rate: float) -> str:
    return f"{operations:.1e} operations: at least {span} at {rate / 1e9:.0f} GFLOP/s of this CPU"


def _memory(weights: float, kept: float) -> str:
    return (
        f"about {_bytes(weights)} of weights, gradients and moments, and {_bytes(kept)} of "
        "activations"
    )


def _bytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.0f} MiB"

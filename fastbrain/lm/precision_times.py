"""Time of a language model in three precisions on this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from time import perf_counter
from typing import Any

import torch

from ..errors import InputError
from .context import context_of

WAYS = ("float32", "autocast bfloat16", "bfloat16 weights")


@torch.no_grad()
def precision_times(
    llm: Any, *, rows: int = 16, tokens: int = 24, rounds: int = 3
) -> dict[str, dict[str, float]]:
    """Time one forward pass and one decode step in fp32, under autocast, and with bf16 weights.

    Parameters
    ----------
    llm : PreTrainedModel
        In float32; its weights are converted in place to bfloat16 for the last way and stay so.
    rows, tokens : int
        Size of the batch; a decode step follows it. Fewer tokens where the context is shorter.
    rounds : int
        Timed repetitions after a first one that is not counted; the median is returned.

    Returns
    -------
    dict
        For each way, seconds of ``"forward"`` and ``"step"``.

    Raises
    ------
    InputError
        The context does not hold a token and the steps after it.
    """
    context = context_of(llm)
    if context is not None:
        # every timed step adds a token to the cache
        tokens = min(tokens, context - rounds - 1)
    if tokens < 1:
        raise InputError(
            f"precision_times: llm must have a context of at least {rounds + 2} tokens, got "
            f"{context}. Time fewer rounds."
        )
    device = llm.get_input_embeddings().weight.device
    words = llm.get_input_embeddings().weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(words, (rows, tokens), generator=generator).to(device)
    found = {}
    for way in WAYS:
        if way == WAYS[2]:
            llm.to(torch.bfloat16)
        mixed: AbstractContextManager[Any] = nullcontext()
        if way == WAYS[1]:
            mixed = torch.autocast(device.type, dtype=torch.bfloat16)
        with mixed:
            found[way] = {
                "forward": _timed(lambda: llm(ids, use_cache=False), device, rounds),
                "step": _step(llm, ids, device, rounds),
            }
    return found


def _step(llm: Any, ids: torch.Tensor, device: torch.device, rounds: int) -> float:
    cache = llm(ids, use_cache=True, logits_to_keep=1).past_key_values

    def step() -> None:
        llm(ids[:, :1], past_key_values=cache, use_cache=True, logits_to_keep=1)

    return _timed(step, device, rounds)


def _timed(call: Callable[[], object], device: torch.device, rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):
        _wait(device)
        begin = perf_counter()
        call()
        _wait(device)
        times.append(perf_counter() - begin)
    return median(times[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

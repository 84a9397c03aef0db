"""Greedy decoding and sampling of several rows, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ...ops.decoder import likeliest
from .. import _checks
from ..beam_search import forbid_end
from ..sampling import Sampling, penalise_repetition, pick_at
from .constraints import ConstrainedTexts
from .result import TokenEvent
from .rows import Rows


@dataclass
class Writing:
    """Text of one row while it is written."""

    row: int
    tokens: list[int] = field(default_factory=list)
    total: float = 0.0
    finish: str = ""
    shown: str = ""


@dataclass(frozen=True)
class Options:
    """What a call asks for beside the inputs.

    `bias` is (B, V) or None; `ends` are the end tokens.
    """

    sampling: Sampling
    ends: tuple[int, ...]
    seeds: Sequence[int]
    bias: Tensor | None = None
    texts: ConstrainedTexts | None = None
    on_token: Callable[[TokenEvent], Any] | None = None
    cancelled: Callable[[], bool] | None = None
    log_probability: bool = False
    tokenizer: Any = None

    @property
    def is_plain(self) -> bool:
        """Whether the next token is the likeliest one, without changes to the logits."""
        return (
            self.sampling.method == "greedy"
            and self.sampling.repetition_penalty == 1.0
            and self.bias is None
            and self.texts is None
            and not self.log_probability
        )


def write(rows: Rows, logits: Tensor, options: Options) -> tuple[list[Writing], float]:
    """Continue opened rows 0 to B - 1, of which `logits` (B, V) are the next.

    Returns
    -------
    writings : list of Writing
    first : float
        Time of the first token by ``time.perf_counter``; of the end if there was none.
    """
    sampling, first = options.sampling, None
    writings = [Writing(row) for row in range(len(logits))]
    uniform = uniform_of(options, len(logits)).to(logits.device)
    ends = torch.tensor(options.ends, dtype=torch.int64, device=logits.device)
    running = writings
    for step in range(sampling.max_new_tokens):
        if options.cancelled is not None and options.cancelled():
            for one in running:
                one.finish = "cancelled"
            break
        chosen = _choose(logits, running, step, uniform, ends, options)
        first = perf_counter() if first is None else first
        pairs = zip(running, chosen, strict=True)
        running = [one for one, token in pairs if _add(one, token, options)]
        if not running:
            break
        if step + 1 == sampling.max_new_tokens:
            for one in running:
                one.finish = "length"
            break
        logits = rows.step([one.row for one in running], [one.tokens[-1] for one in running])
    return writings, perf_counter() if first is None else first


def _choose(
    logits: Tensor,
    running: list[Writing],
    step: int,
    uniform: Tensor,
    ends: Tensor,
    options: Options,
) -> list[int | None]:
    """Choose the next token of each running row, None if none may follow; `logits` are theirs."""
    sampling, rows = options.sampling, [one.row for one in running]
    if options.is_plain and logits.is_cpu and logits.dtype == torch.float32:
        never = options.ends if step < sampling.min_new_tokens else ()
        tokens = likeliest(logits.contiguous(), never)
        if tokens is not None:
            return list(tokens)
    if options.bias is not None:
        logits = logits + options.bias[rows]
    _checks.predicted("DecodeEngine.generate", logits)
    if sampling.repetition_penalty != 1.0:
        texts = [one.tokens for one in running]
        said = torch.tensor(texts, dtype=torch.int64, device=logits.device)
        logits = penalise_repetition(logits, said, sampling.repetition_penalty)
    logits = forbid_end(logits, step, sampling, ends)
    scores, open_ended = logits, [True] * len(running)
    if options.texts is not None:
        scores = options.texts.restrict(scores, [one.tokens for one in running])
        some = scores.amax(dim=-1, keepdim=True).isfinite()
        scores, open_ended = torch.where(some, scores, logits), some[:, 0].tolist()
    chosen = pick_at(scores, sampling, uniform[rows, step])
    if options.log_probability:
        found = torch.log_softmax(logits, dim=-1).gather(1, chosen[:, None])[:, 0]
        for one, value, free in zip(running, found.tolist(), open_ended, strict=True):
            one.total += value if free else 0.0
    return [t if free else None for t, free in zip(chosen.tolist(), open_ended, strict=True)]


def _add(one: Writing, token: int | None, options: Options) -> bool:
    """Add a token to a text and return whether the text goes on."""
    if token is None:
        one.finish = "constraint"
        return False
    if token in options.ends:
        one.finish = "end"
        return False
    one.tokens.append(token)
    if options.on_token is not None:
        options.on_token(TokenEvent(one.row, len(one.tokens) - 1, token, _added(one, options)))
    # a log probability includes that of the end, which takes one more step
    ends_itself = not (options.ends and options.log_probability)
    if options.texts is not None and ends_itself and options.texts.exhausted(one.tokens):
        one.finish = "constraint"
        return False
    return True


def _added(one: Writing, options: Options) -> str:
    """Text that the last token adds; a character of several tokens comes with its last one."""
    if options.tokenizer is None:
        return ""
    whole = options.tokenizer.decode(one.tokens, skip_special_tokens=True)
    if whole.endswith("\ufffd") or not whole.startswith(one.shown):
        return ""
    added, one.shown = whole[len(one.shown) :], whole
    return str(added)


def uniform_of(options: Options, rows: int) -> Tensor:
    """Random numbers (rows, steps) in [0, 1), of each row's own generator on the CPU."""
    steps = options.sampling.max_new_tokens
    if options.sampling.method == "greedy":
        return torch.zeros(rows, 1, device="cpu").expand(rows, steps)
    # whatever the defaults of PyTorch are, so that a seed means the same text
    made = [torch.Generator("cpu").manual_seed(seed) for seed in options.seeds]
    return torch.stack(
        [torch.rand(steps, generator=one, dtype=torch.float32, device="cpu") for one in made]
    )

"""Beam search over the rows of the engine."""

from __future__ import annotations

from time import perf_counter

import torch
from torch import Tensor

from .. import _checks
from ..beam_search import beam_search
from .cache import Prefix
from .result import EngineResult
from .rows import BeamRows, Rows
from .sequential import Options


def search(
    rows: Rows, inputs: list[Tensor], before: list[Prefix | None], options: Options, begin: float
) -> EngineResult:
    """Open each input for all of its beams and search; `begin` is when the call began."""
    width, count = options.sampling.beams, len(inputs)
    rows.need(count * width)
    opened = zip(range(0, count * width, width), before, inputs, strict=True)
    logits = torch.stack([rows.open(*one) for one in opened])
    logits = logits if options.bias is None else logits + options.bias
    _checks.predicted("DecodeEngine.generate", logits)
    first, texts, stopped = perf_counter(), options.texts, []

    def stop() -> bool:
        stopped.append(options.cancelled is not None and options.cancelled())
        return stopped[-1]

    if stop():
        none = ((),) * count
        zeros = (0.0,) * count if options.log_probability else None
        return EngineResult(none, ("cancelled",) * count, zeros, first - begin, first - begin)
    tokens, lengths, total = beam_search(
        BeamRows(rows, before, width, options.bias),
        logits,
        options.sampling,
        torch.tensor(options.ends, dtype=torch.int64, device=logits.device),
        0,
        restrict=None if texts is None else lambda p, t: texts.restrict(p, t.tolist()),
        stop=stop,
    )
    totals, most = total.tolist(), options.sampling.max_new_tokens
    written, finish = [], []
    for row, n, value in zip(tokens.tolist(), lengths.tolist(), totals, strict=True):
        blocked = value == -torch.inf  # the constraint leaves no text
        written.append(() if blocked else tuple(row[:n]))
        end = "constraint" if blocked else "length" if n == most else "end"
        finish.append("cancelled" if any(stopped) else end)
    return EngineResult(
        tuple(written),
        tuple(finish),
        tuple(totals) if options.log_probability else None,
        first - begin,
        perf_counter() - begin,
    )

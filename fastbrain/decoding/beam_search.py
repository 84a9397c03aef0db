"""Beam search over a model that steps: the same for every way of computing the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from . import _checks
from .sampling import Sampling, penalise_repetition


class Stepper(Protocol):
    """A prefilled batch that can be extended by a token a row, and of which rows can be copied."""

    def reorder(self, rows: torch.Tensor) -> None:
        """Replace the rows by copies of the given ones (B',) int64."""

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append a token (B,) to each row and return the next logits (B, V) float32."""


def forbid_end(
    logits: torch.Tensor, step: int, sampling: Sampling, ends: torch.Tensor
) -> torch.Tensor:
    """Give the end tokens minus infinity in logits (B, V) while the text is too short."""
    if step >= sampling.min_new_tokens or not len(ends):
        return logits
    # a bias of minus infinity may exclude every other token
    return _checks.predicted("generate", logits.index_fill(1, ends, -torch.inf))


def beam_search(
    stepper: Stepper,
    logits: torch.Tensor,
    sampling: Sampling,
    ends: torch.Tensor,
    pad: int,
    *,
    restrict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    stop: Callable[[], bool] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find the best of `sampling.beams` texts for each row of a prefilled batch.

    Parameters
    ----------
    stepper : Stepper
    logits : Tensor, (B, V) float32
        Of the first token.
    sampling : Sampling
    ends : Tensor, (E,) int64
    pad : int
    restrict : callable, optional
        Maps log probabilities (B · beams, V) and the tokens so far (B · beams, t) to log
        probabilities in which forbidden tokens have minus infinity.
    stop : callable, optional
        Asked before each step; true ends the search with the texts found so far.

    Returns
    -------
    tokens : Tensor, (B, T) int64
    lengths : Tensor, (B,) int64
    log_probability : Tensor, (B,) float32
    """
    batch, width, device = len(logits), sampling.beams, logits.device
    # one prefill per window; its cache is then repeated for the beams
    stepper.reorder(torch.arange(batch, device=device).repeat_interleave(width))
    logits = logits.repeat_interleave(width, dim=0)
    tokens = torch.empty(batch * width, 0, dtype=torch.long, device=device)
    score = torch.full((batch, width), -torch.inf, device=device)
    score[:, 0] = 0.0  # all beams are equal at first, so only one starts
    finished: list[list[tuple[float, float, torch.Tensor]]] = [[] for _ in range(batch)]
    spare = 1 + max(1, len(ends))
    row_start = torch.arange(batch, device=device)[:, None] * width
    for step in range(sampling.max_new_tokens):
        log_probability = torch.log_softmax(logits, dim=-1)
        log_probability = penalise_repetition(log_probability, tokens, sampling.repetition_penalty)
        log_probability = forbid_end(log_probability, step, sampling, ends)
        if restrict is not None:
            log_probability = restrict(log_probability, tokens)
        vocabulary = log_probability.shape[-1]
        candidates = (score.reshape(-1, 1) + log_probability).reshape(batch, -1)
        # enough candidates that `width` remain even if all end tokens of all beams are among them
        best, index = candidates.topk(min(spare * width, candidates.shape[1]), dim=1)
        parent, token = row_start + index // vocabulary, index % vocabulary
        ended = torch.isin(token, ends)
        # an end counts only among the best `width`, so that an unlikely early end is not kept
        for row, rank in (ended[:, :width] & best[:, :width].isfinite()).nonzero().tolist():
            value = float(best[row, rank])
            _keep(finished[row], value, tokens[parent[row, rank]], step + 1, sampling)
        order = (ended * best.shape[1] + torch.arange(best.shape[1], device=device)).argsort(1)
        order = order[:, :width]
        score = best.gather(1, order)
        rows = parent.gather(1, order).reshape(-1)
        tokens = torch.cat([tokens[rows], token.gather(1, order).reshape(-1, 1)], dim=1)
        if step + 1 == sampling.max_new_tokens or all(
            _done(finished[row], float(score[row, 0]), step + 1, sampling) for row in range(batch)
        ):
            break
        if stop is not None and stop():
            break
        stepper.reorder(rows)
        logits = stepper.step(tokens[:, -1])
    for row in range(batch):
        if not _done(finished[row], float(score[row, 0]), tokens.shape[1], sampling):
            for rank in range(width):
                _keep(
                    finished[row],
                    float(score[row, rank]),
                    tokens[row * width + rank],
                    tokens.shape[1],
                    sampling,
                )
    best_rows = [max(beams, key=lambda beam: beam[0]) for beams in finished]
    lengths = torch.tensor([len(beam[2]) for beam in best_rows], device=device)
    out = torch.full((batch, int(lengths.max())), pad, dtype=torch.long, device=device)
    for row, (_, _, text) in enumerate(best_rows):
        out[row, : len(text)] = text
    total = torch.tensor([beam[1] for beam in best_rows], device=device)
    return out, lengths, total


def _keep(
    beams: list[tuple[float, float, torch.Tensor]],
    total: float,
    tokens: torch.Tensor,
    length: int,
    sampling: Sampling,
) -> None:
    beams.append((total / length**sampling.length_penalty, total, tokens))
    beams.sort(key=lambda beam: -beam[0])
    del beams[sampling.beams :]


def _done(
    beams: list[tuple[float, float, torch.Tensor]], best: float, length: int, sampling: Sampling
) -> bool:
    """Return whether no running beam beats the worst kept one at its present length.

    With a positive length penalty a longer text may still beat it: a heuristic, that of
    transformers with ``early_stopping=False``.
    """
    return len(beams) == sampling.beams and beams[-1][0] >= best / length**sampling.length_penalty

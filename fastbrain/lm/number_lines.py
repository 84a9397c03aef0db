"""Tokens of real values in a language model: points on straight lines of its embedding space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._arguments import checked
from ..errors import InputError

LIMIT = 3.0  # values are clipped to ±LIMIT


@dataclass(frozen=True)
class NumberLines:
    """Token ids of the levels of several values in a tokenizer.

    Parameters
    ----------
    first : int
        Token of level 0 of line 0; the tokens of a line, and then the lines, follow each other.
    lines, levels : int
        Number of values, and of levels of each of them, at equal distances in ±3.
    """

    first: int
    lines: int
    levels: int

    @classmethod
    def find(cls, tokenizer: Any) -> NumberLines:
        """Find the lines in a tokenizer that was extended by :func:`extend_number_lines`.

        Raises
        ------
        InputError
            The tokenizer has no lines, or their ids are not consecutive.
        """
        known = tokenizer.get_vocab()
        lines = levels = 0
        while _name(lines, 0) in known:
            lines += 1
        while _name(0, levels) in known:
            levels += 1
        names = [_name(line, level) for line in range(lines) for level in range(levels)]
        ids = [known.get(name, -1) for name in names]
        if not ids or ids != list(range(ids[0], ids[0] + len(ids))):
            raise InputError(
                "NumberLines: the tokenizer must hold lines of levels in a row, got "
                f"{lines} of {levels}. Extend it with extend_number_lines."
            )
        return cls(ids[0], lines, levels)

    def tokens(self, values: Tensor) -> Tensor:
        """Tokens (lines,) int64 of `values` (lines,), each of them the nearest level of its line.

        Raises
        ------
        InputError
            There is not one value a line, or a value is not finite.
        """
        if values.shape != (self.lines,) or not bool(values.isfinite().all()):
            raise InputError(
                f"NumberLines: values must be ({self.lines},) and finite, got "
                f"{tuple(values.shape)}."
            )
        share = (values.clamp(-LIMIT, LIMIT) + LIMIT) / (2 * LIMIT)
        level = (share * (self.levels - 1)).round().long()
        return self.first + torch.arange(self.lines) * self.levels + level


@checked(least={"lines": 1, "levels": 2})
def extend_number_lines(
    llm: Any, tokenizer: Any, lines: int, levels: int, *, seed: int = 0
) -> NumberLines:
    """Add tokens for the levels of several values to a language model, in place.

    Level ``l`` of line ``k`` gets the embedding ``mean + length · (start_k + value_l · step_k)``:
    ``mean`` of the words, ``length`` their mean distance from it, and random unit vectors
    ``start_k`` and ``step_k``. A weighted sum of the values is thus a linear function of the
    embeddings, also for levels that training never shows.

    Parameters
    ----------
    llm : PreTrainedModel
    tokenizer : PreTrainedTokenizer
    lines, levels : int
    seed : int

    Returns
    -------
    NumberLines

    Raises
    ------
    InputError
        The tokenizer already has lines.
    """
    if _name(0, 0) in tokenizer.get_vocab():
        raise InputError("extend_number_lines: the tokenizer must not have lines yet, got some.")
    words = len(tokenizer)
    names = [_name(line, level) for line in range(lines) for level in range(levels)]
    tokenizer.add_tokens(names, special_tokens=True)
    generator = torch.Generator().manual_seed(seed)
    llm.resize_token_embeddings(max(len(tokenizer), llm.config.vocab_size), mean_resizing=False)
    values = torch.linspace(-LIMIT, LIMIT, levels)
    ends = llm.get_input_embeddings(), llm.get_output_embeddings()
    with torch.no_grad():
        # a tied head shares its weight with the embeddings: update it only once
        for weight in {id(end.weight): end.weight for end in ends}.values():
            old = weight[:words].float()
            mean = old.mean(dim=0)
            length = (old - mean).norm(dim=1).mean()
            drawn = torch.randn(2, lines, weight.shape[1], generator=generator).to(mean)
            start, step = F.normalize(drawn, dim=2)
            points = start[:, None] + values.to(mean)[:, None] * step[:, None]
            new = (mean + length * points).flatten(0, 1)
            weight[words : words + len(names)] = new.to(weight.dtype)
    return NumberLines.find(tokenizer)


def _name(line: int, level: int) -> str:
    return f"<value_{line}_{level}>"

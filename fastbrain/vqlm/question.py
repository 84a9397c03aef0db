"""Codes of a recording, and questions to a language model about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._arguments import checked
from ..errors import InputError
from ..lm.code_vocabulary import CodeVocabulary
from ..lm.digit_tokens import DigitTokens
from ..lm.mixed_sequence import IGNORED, MixedSequence, interleave
from ..lm.number_lines import NumberLines
from .autoencoder import VQAutoencoder


@dataclass(frozen=True)
class Question:
    """Question about a recording, with the tokens of question and answer.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    vocabulary : CodeVocabulary
    digits : DigitTokens or None
        Digit tokens for numeric answers; None for answers in words.
    text : str
    lines : NumberLines, optional
        Tokens of the components of connectivity, if the language model reads those.
    """

    tokenizer: Any
    vocabulary: CodeVocabulary
    digits: DigitTokens | None
    text: str
    lines: NumberLines | None = None

    def row(self, recording: Tensor, answer: float | str | None = None) -> MixedSequence:
        """Build the sequence of a recording, the question and an optional answer.

        The recording is codes (R, P), or the tokens (K,) of its components of connectivity. Codes
        and answer carry labels; components and question do not.
        """
        answered = [] if answer is None else [spelled(answer, self.tokenizer, self.digits)]
        row = interleave([recording, self.text, *answered], self.tokenizer, self.vocabulary)
        asked = self.vocabulary.codes_of(row.labels) < 0
        asked[len(asked) - 1 - sum(map(len, answered)) :] = False
        return replace(row, labels=row.labels.masked_fill(asked, IGNORED))


@checked
def spelled(answer: float | str, tokenizer: Any, digits: DigitTokens | None) -> Tensor:
    """Tokens (N,) int64 of an answer, spelled in digits if `digits` is given.

    Raises
    ------
    InputError
        A number has too many digits, or a word is not in the tokenizer's vocabulary.
    """
    if digits is not None:
        return digits.tokens(float(answer))
    ids = tokenizer.encode(str(answer), add_special_tokens=False)
    if not ids or tokenizer.unk_token_id in ids:
        raise InputError(
            f"Question: answers must be words that the tokenizer knows, got {answer!r}. Use "
            "another language model, or other words."
        )
    return torch.tensor(ids)


def spread_starts(length: int, steps: int, draws: int) -> list[int]:
    """Start indices of `draws` parts of `steps` steps, spread evenly over `length`."""
    last = length - steps
    return [i * last // max(1, draws - 1) for i in range(draws)]


@checked(least={"frames": 1})
@torch.no_grad()
def recording_codes(coder: VQAutoencoder, series: npt.NDArray[Any], frames: int) -> Tensor:
    """Encode a series (R, T) to codes (R, P) int64, window by window as in training.

    Trailing frames that do not fill a patch are dropped.

    Raises
    ------
    InputError
        The number of regions differs from the coder's, or the series is shorter than a patch.
    """
    patch = coder.config.patch
    if series.ndim != 2 or len(series) != coder.config.regions or series.shape[1] < patch:
        raise InputError(
            f"recording_codes: series must be ({coder.config.regions}, T >= {patch}), got "
            f"{series.shape}."
        )
    coder.eval()
    values = torch.tensor(np.asarray(series), dtype=torch.float32)
    whole = values.shape[1] // patch * patch
    parts = [
        coder.codes(values[None, :, s : min(s + frames, whole)].to(coder.center.device))[0]
        for s in range(0, whole, frames)
    ]
    return torch.cat(parts, dim=1).cpu()


@torch.no_grad()
def decoded_series(coder: VQAutoencoder, codes: Tensor, frames: int) -> npt.NDArray[np.float64]:
    """Decode codes (R, P) to a series (R, T), with the windows used for encoding."""
    steps = frames // coder.config.patch
    parts = [coder.decode(part[None])[0] for part in codes.split(steps, dim=1)]
    return np.asarray(torch.cat(parts, dim=1).double().cpu().numpy())

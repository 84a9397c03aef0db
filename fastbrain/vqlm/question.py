"""A recording in codes, and how a language model is asked about it."""

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
from .autoencoder import VQAutoencoder


@dataclass(frozen=True)
class Question:
    """How a recording is asked about.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    vocabulary : CodeVocabulary
    digits : DigitTokens or None
        Of answers that are numbers; None where they are words.
    text : str
    """

    tokenizer: Any
    vocabulary: CodeVocabulary
    digits: DigitTokens | None
    text: str

    def row(self, codes: Tensor, answer: float | str | None = None) -> MixedSequence:
        """Recording (R, P), question and, where it is given, the answer.

        Codes and the answer are predicted; the question, which is always the same, is not.
        """
        answered = [] if answer is None else [spelled(answer, self.tokenizer, self.digits)]
        row = interleave([codes, self.text, *answered], self.tokenizer, self.vocabulary)
        asked = self.vocabulary.codes_of(row.labels) < 0
        asked[len(asked) - 1 - sum(map(len, answered)) :] = False
        return replace(row, labels=row.labels.masked_fill(asked, IGNORED))


@checked
def spelled(answer: float | str, tokenizer: Any, digits: DigitTokens | None) -> Tensor:
    """Tokens (N,) int64 of an answer, in digits where there are some.

    Raises
    ------
    InputError
        A number has too many places, or the tokenizer does not know the words.
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
    """Where `draws` parts of `steps` begin that are spread evenly over `length`."""
    last = length - steps
    return [i * last // max(1, draws - 1) for i in range(draws)]


@checked(least={"frames": 1})
@torch.no_grad()
def recording_codes(coder: VQAutoencoder, series: npt.NDArray[Any], frames: int) -> Tensor:
    """Codes (R, P) int64 of a series (R, T), window by window as in training.

    Frames that fill no patch are left out.

    Raises
    ------
    InputError
        The series has other regions than the coder or no whole patch.
    """
    patch = coder.config.patch
    if series.ndim != 2 or len(series) != coder.config.regions or series.shape[1] < patch:
        raise InputError(
            f"recording_codes: series must be ({coder.config.regions}, T >= {patch}), got "
            f"{series.shape}."
        )
    coder.eval()
    values = torch.as_tensor(np.asarray(series), dtype=torch.float32)
    whole = values.shape[1] // patch * patch
    parts = [
        coder.codes(values[None, :, s : min(s + frames, whole)].to(coder.center.device))[0]
        for s in range(0, whole, frames)
    ]
    return torch.cat(parts, dim=1).cpu()

"""A recording in codes, and how a language model is asked about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .digits import DigitTokens
from .mixed import IGNORED, MixedSequence, interleave
from .vocabulary import CodeVocabulary
from .vq_autoencoder import VQAutoencoder


@dataclass(frozen=True)
class Question:
    """How a recording is asked about.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    vocabulary : CodeVocabulary
    digits : DigitTokens
    text : str
    """

    tokenizer: Any
    vocabulary: CodeVocabulary
    digits: DigitTokens
    text: str

    def row(self, codes: Tensor, answer: float | None = None) -> MixedSequence:
        """Recording (R, P), question and, where it is given, the answer in digits.

        Codes and the answer are predicted; the question, which is always the same, is not.
        """
        answered = [] if answer is None else [self.digits.tokens(answer)]
        row = interleave([codes, self.text, *answered], self.tokenizer, self.vocabulary)
        asked = self.vocabulary.codes_of(row.labels) < 0
        asked[len(asked) - 1 - self.digits.places * len(answered) :] = False
        return replace(row, labels=row.labels.masked_fill(asked, IGNORED))


@torch.no_grad()
def recording_codes(coder: VQAutoencoder, series: npt.NDArray[Any], frames: int) -> Tensor:
    """Codes (R, P) int64 of a series (R, T), window by window as in training.

    Frames that fill no patch are left out.
    """
    coder.eval()
    patch = coder.config.patch
    values = torch.as_tensor(np.asarray(series), dtype=torch.float32)
    whole = values.shape[1] // patch * patch
    parts = [
        coder.codes(values[None, :, s : min(s + frames, whole)].to(coder.center.device))[0]
        for s in range(0, whole, frames)
    ]
    return torch.cat(parts, dim=1).cpu()

"""Sentence embeddings of a Hugging Face encoder, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError
from ..stats.unit_rows import unit_rows
from .sources import find_model, load_tokenizer, load_weights_of

_AT_ONCE = 64


class SentenceEncoder:
    """An encoder of sentences, opened once.

    Parameters
    ----------
    model : str
        Name or path of a transformers encoder with safetensors weights and no custom code.

    Raises
    ------
    InputError
        The encoder cannot be found or read, contains custom code or has no safetensors.
    """

    def __init__(self, model: str) -> None:
        source = find_model(model, function="SentenceEncoder")
        self.name = model
        self._tokenizer, self._encoder = load_tokenizer(source), load_weights_of(source)

    def layers(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Embed texts by every layer; see :func:`sentence_embeddings`.

        Parameters
        ----------
        texts : sequence of str, (N,)

        Returns
        -------
        ndarray, (N, layers, D) float64

        Raises
        ------
        InputError
            There is no text.
        """
        if not texts:
            raise InputError("sentence_embeddings: texts must be at least one, got none.")
        parts = []
        for start in range(0, len(texts), _AT_ONCE):
            batch = self._tokenizer(
                list(texts[start : start + _AT_ONCE]),
                padding=True,
                truncation=True,
                return_tensors="pt",
            )
            with torch.inference_mode():
                states = self._encoder(**batch, output_hidden_states=True).hidden_states
            states = torch.stack(states, dim=1)
            mask = batch["attention_mask"][:, None, :, None]
            parts.append(((states * mask).sum(2) / mask.sum(2)).double().numpy())
        return unit_rows(np.concatenate(parts))


def sentence_embeddings(texts: Sequence[str], model: str) -> npt.NDArray[np.float64]:
    """Embed texts: hidden states of every layer, averaged over tokens and scaled to length one.

    Parameters
    ----------
    texts : sequence of str, (N,)
    model : str
        Name or path of a transformers encoder with safetensors weights and no custom code.

    Returns
    -------
    ndarray, (N, layers, D) float64
        Layer 0 contains the input embeddings.

    Raises
    ------
    InputError
        There is no text, or the encoder cannot be found or read, contains custom code or has no
        safetensors.
    """
    if not texts:
        raise InputError("sentence_embeddings: texts must be at least one, got none.")
    return SentenceEncoder(model).layers(texts)

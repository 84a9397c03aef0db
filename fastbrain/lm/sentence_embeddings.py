"""Sentence embeddings of a Hugging Face encoder, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import InputError
from ..stats.unit_rows import unit_rows
from .loading import model_digest, vocabulary_digest
from .sources import find_model, load_tokenizer, load_weights_of

_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class TokenGradients:
    """How a number changes with the tokens of a text, to first order.

    Parameters
    ----------
    spans : tuple of (int, int), (T,)
        Characters of each token, first and one after the last; both are equal for a special token.
    gradient : ndarray, (T, D) float32
        With respect to the word embedding of each token.
    held : ndarray, (T,) float32
        Inner product of the gradient and the word embedding of the token.
    """

    spans: tuple[tuple[int, int], ...]
    gradient: npt.NDArray[np.float32]
    held: npt.NDArray[np.float32]


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
        if self._tokenizer.pad_token is None:
            # padding is masked, so any token does
            self._tokenizer.pad_token = self._tokenizer.convert_ids_to_tokens(0)
        most = _most_tokens(self._encoder)
        if most is not None and most < self._tokenizer.model_max_length:
            self._tokenizer.model_max_length = most

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
            There is no text, or one that is no Unicode text or has no token.
        """
        _check_texts(texts)
        found: list[npt.NDArray[np.float64]] = [np.empty(0)] * len(texts)
        # texts of like length together: less padding
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(texts), _AT_ONCE):
            rows = order[start : start + _AT_ONCE]
            batch = self._tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt"
            )
            empty = (batch["attention_mask"].sum(dim=1) == 0).tolist()
            if any(empty):
                raise InputError(
                    "sentence_embeddings: texts must have a token, got "
                    f"{texts[rows[empty.index(True)]]!r}. Leave it out."
                )
            with torch.inference_mode():
                states = self._encoder(**batch, output_hidden_states=True).hidden_states
                means = _means(states, batch["attention_mask"]).double().numpy()
            for i, mean in zip(rows, means, strict=True):
                found[i] = mean
        return unit_rows(np.stack(found))

    def gradient(self, text: str, objective: Callable[[Tensor], Tensor]) -> TokenGradients:
        """Differentiate a number by the word embeddings of the tokens of a text.

        Parameters
        ----------
        text : str
        objective : callable
            Maps the layers of the text, as :meth:`layers` returns them but as a tensor
            (layers, D) float32, to a tensor () float32.

        Returns
        -------
        TokenGradients

        Raises
        ------
        InputError
            The tokenizer does not return the places of its tokens.
        """
        self.require_places()
        # gradients are needed whatever the caller has switched off
        with torch.inference_mode(False), torch.enable_grad():
            batch = self._tokenizer(
                text, truncation=True, return_tensors="pt", return_offsets_mapping=True
            )
            spans = batch.pop("offset_mapping")[0].tolist()
            embedded = self.vectors[batch["input_ids"]].clone().requires_grad_()
            states = self._encoder(
                inputs_embeds=embedded,
                attention_mask=batch["attention_mask"],
                output_hidden_states=True,
            ).hidden_states
            layers = _means(states, batch["attention_mask"])[0]
            value = objective(torch.nn.functional.normalize(layers, dim=-1))
            (found,) = torch.autograd.grad(value, embedded)
        held = (embedded.detach() * found).sum(-1)[0]
        return TokenGradients(tuple(map(tuple, spans)), found[0].numpy(), held.numpy())

    def require_places(self) -> None:
        """Raise if the tokenizer does not return the places of its tokens in a text.

        Raises
        ------
        InputError
            It is a slow tokenizer.
        """
        if not self._tokenizer.is_fast:
            raise InputError(
                f"SentenceEncoder: the tokenizer of {self.name} must return the place of each "
                "token, got a slow one. Use an encoder with a tokenizer.json."
            )

    def digest(self) -> str:
        """Compute a short hash of weights and vocabulary; see :func:`.loading.model_digest`."""
        return f"{model_digest(self._encoder)}-{vocabulary_digest(self._tokenizer)}"

    @property
    def vectors(self) -> Tensor:
        """Word embeddings (V, D) of the encoder."""
        table: Tensor = self._encoder.get_input_embeddings().weight.detach()
        return table

    def single_tokens(self, words: Sequence[str]) -> list[int | None]:
        """Token of each word inside a text; None where it is unknown or several tokens."""
        if not words:
            return []
        rows = self._tokenizer([f" {word}" for word in words], add_special_tokens=False)
        unknown = self._tokenizer.unk_token_id
        return [
            row[0] if len(row) == 1 and row[0] != unknown else None for row in rows["input_ids"]
        ]


def _most_tokens(encoder: Any) -> int | None:
    """Return how many tokens an encoder has positions for, or None if it sets no limit."""
    most = getattr(encoder.config, "max_position_embeddings", None)
    tables = [m for n, m in encoder.named_modules() if n.endswith("position_embeddings")]
    padding = getattr(tables[0], "padding_idx", None) if tables else None
    # RoBERTa and its kin number positions from behind the padding index
    return most if most is None or padding is None else most - padding - 1


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(
            "sentence_embeddings: texts must be a sequence of one text or more, got "
            f"{texts!r:.60}. Put a single text into a list."
        )
    check_unicode("sentence_embeddings", texts)


def check_unicode(function: str, texts: Sequence[str]) -> None:
    """Raise if a text holds half of a character.

    Raises
    ------
    InputError
    """
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 20) : error.end + 20]
        raise InputError(
            f"{function}: texts must be Unicode, got half of a character in {near!r}. Read the "
            "file with its own encoding."
        ) from error


def _means(states: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Mean over the tokens of a text: (N, layers, D) of hidden states (N, T, D) and mask (N, T)."""
    every, shown = torch.stack(tuple(states), dim=1), mask[:, None, :, None]
    return (every * shown).sum(2) / shown.sum(2)


def sentence_embeddings(texts: Sequence[str], model: str) -> npt.NDArray[np.float64]:
    """Embed texts: hidden states of every layer, averaged over tokens and scaled to length one.

    Of a text that is longer than the encoder reads (512 tokens as a rule), the first tokens count.

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
        There is no text, one is no Unicode text or has no token, or the encoder cannot be found or
        read, contains custom code or has no safetensors.
    """
    _check_texts(texts)
    return SentenceEncoder(model).layers(texts)

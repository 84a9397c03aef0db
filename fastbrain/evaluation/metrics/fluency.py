"""Fluency of written texts: surprise under another language model, variety, copied word runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..._arguments import checked
from ...errors import InputError
from ...lm.context import context_of
from ...lm.prompt_layout import document_start
from .caption_words import caption_words
from .diversity import diversity

_AT_ONCE = 16
_RUN = 4  # words


@dataclass(frozen=True)
class Fluency:
    """Fluency of a set of texts; compare it with that of the true texts.

    Parameters
    ----------
    nll : float or None
        Negative log likelihood under the language model, nats a word (of white space), over all
        texts; None without a model, or if no text has a word.
    distinct1, distinct2 : float
        See :class:`fastbrain.evaluation.Diversity`.
    copied : float or None
        Share of runs of four words that a training text has too; None without training texts, or
        if no text has four words.
    n : int
    signature : str
        Model, and the token before each text.
    """

    nll: float | None
    distinct1: float
    distinct2: float
    copied: float | None
    n: int
    signature: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@checked
def fluency(
    texts: Sequence[str],
    *,
    train_texts: Sequence[str] = (),
    judge: tuple[Any, Any] | None = None,
    name: str = "",
) -> Fluency:
    """Measure the fluency of texts.

    Parameters
    ----------
    texts : sequence of str, (N >= 1,)
    train_texts : sequence of str, optional
        Texts of the training part.
    judge : (PreTrainedModel, PreTrainedTokenizer), optional
        What :func:`fastbrain.lm.load_llm` returns. Take another model than the decoder's: the
        decoder chose its texts for their likelihood under its own.
    name : str
        Name of the model, for the signature.

    Returns
    -------
    Fluency

    Raises
    ------
    InputError
        There are no texts, the tokenizer has neither BOS nor EOS, or the model predicts NaN.
    """
    varied = diversity(texts)
    nll, signature = None, "no language model"
    if judge is not None:
        nll, start = _nll_per_word(texts, *judge)
        signature = f"nats a word|{name or 'unnamed model'}|after {start}"
    return Fluency(
        nll,
        varied.distinct1,
        varied.distinct2,
        copied_runs(texts, train_texts) if len(train_texts) else None,
        len(texts),
        signature,
    )


def copied_runs(texts: Sequence[str], train_texts: Sequence[str]) -> float | None:
    """Share of runs of four words that a training text has; None if there is no such run."""
    known = {run for text in train_texts for run in _runs(text)}
    runs = [run for text in texts for run in _runs(text)]
    return sum(run in known for run in runs) / len(runs) if runs else None


def _runs(text: str) -> list[tuple[str, ...]]:
    words = caption_words(text)
    return [words[i : i + _RUN] for i in range(len(words) - _RUN + 1)]


def _start(tokenizer: Any) -> int:
    """Token after which a model expects a text: that of a document, else EOS."""
    start = document_start(tokenizer)[0]
    start = tokenizer.eos_token_id if start is None else start
    if start is None:
        raise InputError("fluency: tokenizer must have a BOS or EOS token, got neither.")
    return int(start)


def _nll_per_word(texts: Sequence[str], llm: Any, tokenizer: Any) -> tuple[float | None, str]:
    """Nats a word over all texts, and the token before each text."""
    import torch

    start = _start(tokenizer)
    said = sorted((t for t in texts if t.split()), key=len)
    words = sum(len(text.split()) for text in said)
    total = 0.0
    most = context_of(llm)
    rows = [
        window
        for text in said
        for window in _windows(tokenizer(text, add_special_tokens=False)["input_ids"], most)
    ]
    for first in range(0, len(rows), _AT_ONCE):
        batch = rows[first : first + _AT_ONCE]
        width = 1 + max(len(tokens) for tokens, _ in batch)
        ids = torch.full((len(batch), width), start, device=llm.device)
        mask, counted = torch.zeros_like(ids), torch.zeros_like(ids)
        for i, (tokens, known) in enumerate(batch):
            end = 1 + len(tokens)
            ids[i, 1:end] = torch.tensor(tokens, device=ids.device)
            mask[i, :end] = 1
            counted[i, 1 + known : end] = 1
        with torch.inference_mode():
            logits = llm(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), ids[:, 1:], reduction="none"
        )
        total += float((losses * counted[:, 1:]).double().sum())
    if not math.isfinite(total):
        raise InputError(
            f"fluency: judge must predict finite probabilities, got {total} nats. Its weights or "
            "its precision are at fault: open it in float32."
        )
    return (total / words if words else None), str(tokenizer.convert_ids_to_tokens(start))


def _windows(tokens: list[int], context: int | None) -> Iterator[tuple[list[int], int]]:
    """Parts of a text that fit behind the first token, and how many of their tokens are known.

    Where a text is longer than the context, every token has at least half of it before it.
    """
    most = len(tokens) if context is None else max(1, context - 1)
    yield tokens[:most], 0
    step = max(1, most // 2)
    for end in range(most + step, len(tokens) + step, step):
        part = tokens[max(0, end - most) : end]
        yield part, len(part) - (min(end, len(tokens)) - (end - step))

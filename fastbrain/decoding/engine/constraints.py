"""Constraints on what a text may be: a list of phrases, a regular expression or a grammar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..._arguments import checked
from ...errors import InputError
from ...lm.tokenization import word_ids
from .._checks import described


@runtime_checkable
class Constraint(Protocol):
    """What may follow a text, as states that are made token by token."""

    def start(self) -> Any:
        """State of the empty text."""

    def allowed(self, state: Any) -> Tensor:
        """Tokens (n,) int64 on the CPU that may follow; empty if nothing may."""

    def advance(self, state: Any, token: int) -> Any:
        """State after one allowed token."""

    def complete(self, state: Any) -> bool:
        """Whether the text may end here."""


class PhraseList:
    """The text must be one of a list of phrases.

    Parameters
    ----------
    phrases : sequence of sequence of int
        Tokens of each phrase, without the end token; :meth:`from_texts` makes them of texts.

    Raises
    ------
    InputError
        There is no phrase, or one is empty.
    """

    @checked
    def __init__(self, phrases: Sequence[Sequence[int]]) -> None:
        rows = [tuple(map(int, row)) for row in phrases]
        if not rows or not all(rows):
            raise InputError(
                f"PhraseList: phrases must be one or more with a token each, got {len(rows)} "
                f"phrases, {sum(not row for row in rows)} of them empty."
            )
        # a state is the number of a node; node 0 is the empty text
        self._children: list[dict[int, int]] = [{}]
        self._ends: set[int] = set()
        for row in rows:
            node = 0
            for token in row:
                if token not in self._children[node]:
                    self._children[node][token] = len(self._children)
                    self._children.append({})
                node = self._children[node][token]
            self._ends.add(node)
        self._allowed = [
            torch.tensor(sorted(c), dtype=torch.int64, device="cpu") for c in self._children
        ]
        self.longest = max(map(len, rows))

    @classmethod
    def from_texts(cls, tokenizer: Any, texts: Sequence[str]) -> PhraseList:
        """Make a list of texts, each tokenized as it stands within a sentence.

        Raises
        ------
        InputError
            There is no text, or one has no word.
        """
        words = [" ".join(text.split()) for text in texts]
        if not all(words):
            raise InputError(
                f"PhraseList.from_texts: texts must hold words, got {texts[words.index('')]!r}. "
                "Leave it out."
            )
        return cls(word_ids(tokenizer, words))

    def tokens(self) -> Iterable[int]:
        """Every token of a phrase."""
        return {token for children in self._children for token in children}

    def start(self) -> int:
        """State of the empty text."""
        return 0

    def allowed(self, state: int) -> Tensor:
        """Tokens (n,) int64 that continue a phrase."""
        return self._allowed[state]

    def advance(self, state: int, token: int) -> int:
        """State after one allowed token."""
        return self._children[state][token]

    def complete(self, state: int) -> bool:
        """Whether a phrase ends here."""
        return state in self._ends


class ConstrainedTexts:
    """States of the texts that a search extends, found by their tokens.

    Parameters
    ----------
    constraint : Constraint
    ends : sequence of int
        End tokens.
    """

    def __init__(self, constraint: Constraint, ends: Sequence[int]) -> None:
        self.constraint, self.ends = constraint, list(ends)
        self._states: dict[tuple[int, ...], Any] = {(): constraint.start()}

    def restrict(self, scores: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
        """Give minus infinity to what may not follow each text; scores are (R, V)."""
        out = torch.full_like(scores, -torch.inf)
        for row, text in enumerate(texts):
            state = self.state(tuple(text))
            if state is None:
                continue
            ids = self._allowed(state, scores.shape[1])
            if self.ends and self.constraint.complete(state):
                ids = torch.cat([ids, ids.new_tensor(self.ends)])
            ids = ids.to(scores.device)
            out[row, ids] = scores[row, ids]
        return out

    def _allowed(self, state: Any, vocabulary: int) -> Tensor:
        ids = self.constraint.allowed(state)
        if not isinstance(ids, Tensor) or ids.ndim != 1 or ids.dtype != torch.int64:
            raise InputError(
                "DecodeEngine.generate: constraint must allow tokens (n,) int64, got "
                f"{described(ids)}."
            )
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
            raise InputError(
                f"DecodeEngine.generate: constraint must allow tokens in [0, {vocabulary}), got "
                f"{int(ids.min())} to {int(ids.max())}. Give a Grammar the vocabulary of the model."
            )
        return ids

    def exhausted(self, text: Sequence[int]) -> bool:
        """Whether no token but an end may follow a text."""
        state = self.state(tuple(text))
        return state is None or not len(self.constraint.allowed(state))

    def state(self, text: tuple[int, ...]) -> Any:
        """State of a text, or None if the text is not allowed."""
        if text not in self._states:
            before = self.state(text[:-1])
            token = text[-1]
            fits = before is not None and bool((self.constraint.allowed(before) == token).any())
            self._states[text] = self.constraint.advance(before, token) if fits else None
        return self._states[text]

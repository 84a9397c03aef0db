"""Sequences of codes and words, their loader, and the objective of the tuning stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ...lm.code_vocabulary import CodeVocabulary
from ...lm.mixed_sequence import MixedSequence, mixed_nll
from ...training.loop import Objective
from ...training.resumable import ResumableLoader
from ..question import Question, spread_starts


@dataclass(frozen=True)
class RowBatch:
    """Sequences and their trial ids (``person:first step``)."""

    rows: tuple[MixedSequence, ...]
    trial_ids: tuple[str, ...]


class RowLoader(ResumableLoader[RowBatch]):
    """Loader of sequences from parts of recordings.

    Parameters
    ----------
    codes : mapping of str to Tensor, (R, P) int64
    answers : mapping of str to float or str
    question : Question
    steps : int
        Time steps of a sequence.
    batch_size, draws : int
        Sequences in a batch, and sequences of each person in an epoch.
    shuffle : bool
        True: random parts in random order. False: parts spread evenly over the recording.
    seed : int

    Raises
    ------
    InputError
        A recording is shorter than `steps`.
    """

    def __init__(
        self,
        codes: Mapping[str, Tensor],
        answers: Mapping[str, float] | Mapping[str, str],
        question: Question,
        *,
        steps: int,
        batch_size: int,
        draws: int,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        for person, recording in codes.items():
            if recording.shape[1] < steps:
                raise InputError(
                    f"RowLoader: recordings must have {steps} time steps of codes, got "
                    f"{recording.shape[1]} of {person}. Use fewer steps."
                )
        super().__init__(batch_size=batch_size, shuffle=shuffle, seed=seed)
        self.codes, self.answers, self.question = dict(codes), answers, question
        self.steps, self.draws = steps, draws
        self._parts: list[tuple[str, int]] = []

    def _samples(self) -> int:
        return len(self.codes) * self.draws

    def _begin(self, generator: torch.Generator) -> None:
        self._parts = [(p, s) for p in self.codes for s in self._starts(p, generator)]

    def _batch(self, rows: list[int]) -> RowBatch:
        parts = [self._parts[i] for i in rows]
        sequences = [
            self.question.row(self.codes[p][:, s : s + self.steps], self.answers[p])
            for p, s in parts
        ]
        return RowBatch(tuple(sequences), tuple(f"{p}:{s}" for p, s in parts))

    def _starts(self, person: str, generator: torch.Generator) -> list[int]:
        length = self.codes[person].shape[1]
        if not self.shuffle:
            return spread_starts(length, self.steps, self.draws)
        last = length - self.steps
        return torch.randint(last + 1, (self.draws,), generator=generator).tolist()


class CodeRows(Objective):
    """Objective of the tuning stage: cross-entropy of next codes and of the answer.

    Parameters
    ----------
    llm : PreTrainedModel
        Its trained parameters require gradients.
    vocabulary : CodeVocabulary
    code_weight : float
    """

    def __init__(self, llm: Any, vocabulary: CodeVocabulary, *, code_weight: float) -> None:
        super().__init__()
        self.llm, self.vocabulary, self.code_weight = llm, vocabulary, code_weight
        # checkpoints contain trained parameters only, and tied ones once
        named = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        self._learned = frozenset(n for n, _ in named)
        self.register_state_dict_post_hook(_learned_alone)
        self.register_load_state_dict_post_hook(_expect_learned)

    def forward(self, batch: RowBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch and its terms: nats per code, nats per digit or word."""
        nll, labels = mixed_nll(self.llm, batch.rows)
        self.tokens += sum(len(row.ids) for row in batch.rows)
        coded = self.vocabulary.codes_of(labels) >= 0
        codes, words = (nll[m].sum() / m.sum().clamp_min(1) for m in (coded, ~coded))
        return {
            "loss": words + self.code_weight * codes,
            "code_loss": codes,
            "answer_loss": words,
        }


def _learned_alone(module: CodeRows, state: dict[str, Any], prefix: str, _: Any) -> None:
    for key in [k for k in state if k.removeprefix(prefix) not in module._learned]:
        del state[key]


def _expect_learned(module: CodeRows, keys: Any) -> None:
    keys.missing_keys[:] = [k for k in keys.missing_keys if k in module._learned]

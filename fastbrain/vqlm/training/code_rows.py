"""Sequences of codes and words, their loader, and the objective of the tuning stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..._shards import Shard
from ...errors import InputError
from ...lm.mixed_sequence import IGNORED, MixedSequence, mixed_nll
from ...lm.number_odds import number_log_odds, number_loss
from ...nn import shards
from ...training.loop import Objective
from ...training.resumable import ResumableLoader
from ..question import Question, spread_starts
from .answer_config import NumberConfig, WordsConfig


@dataclass(frozen=True)
class RowBatch:
    """Sequences and their trial ids (``person:first step``).

    Parameters
    ----------
    rows : tuple of MixedSequence
        Sequences with labels to predict: codes, and answers in words.
    asked : tuple of MixedSequence
        Sequences up to the position of a number.
    numbers : Tensor, (len(asked),) float32
        The numbers.
    trial_ids : tuple of str
    shard : Shard or None
    """

    rows: tuple[MixedSequence, ...]
    asked: tuple[MixedSequence, ...]
    numbers: Tensor
    trial_ids: tuple[str, ...]
    shard: Shard | None = None


class RowLoader(ResumableLoader[RowBatch]):
    """Loader of sequences from parts of recordings, and of questions.

    The question follows the words of connectivity if there are any, else the codes.

    Parameters
    ----------
    people : sequence of str
    codes : mapping of str to Tensor, (R, P) int64
        May be empty if there are words.
    words : mapping of str to Tensor, (K,)
        Values for :class:`NumberLines`; may be empty.
    answers : mapping of str to float or str
    question : Question
    steps : int
        Time steps of a sequence of codes.
    batch_size, draws : int
        Sequences in a batch, and sequences of each person in an epoch.
    reading : WordsConfig
    shuffle : bool
        True: random parts in random order, words blended and with noise. False: parts spread evenly
        over the recording, the words of the person.
    seed : int

    Raises
    ------
    InputError
        A recording is shorter than `steps`.
    """

    def __init__(
        self,
        people: Sequence[str],
        codes: Mapping[str, Tensor],
        words: Mapping[str, Tensor],
        answers: Mapping[str, float] | Mapping[str, str],
        question: Question,
        *,
        steps: int,
        batch_size: int,
        draws: int,
        reading: WordsConfig,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        for person in people:
            if codes and codes[person].shape[1] < steps:
                raise InputError(
                    f"RowLoader: recordings must have {steps} time steps of codes, got "
                    f"{codes[person].shape[1]} of {person}. Use fewer steps."
                )
        super().__init__(batch_size=batch_size, shuffle=shuffle, seed=seed)
        self.people, self.codes, self.words = tuple(people), codes, words
        self.answers, self.question = answers, question
        self.steps, self.draws, self.reading = steps, draws, reading
        self._parts: list[tuple[str, int]] = []
        self._spoken: list[list[tuple[Tensor, float | str]]] = []

    def _samples(self) -> int:
        return len(self.people) * self.draws

    def _begin(self, generator: torch.Generator) -> None:
        self._parts = [(p, s) for p in self.people for s in self._starts(p, generator)]
        copies = self.reading.copies if self.shuffle else 1
        self._spoken = [
            [self._said(person, generator) for _ in range(copies if self.words else 0)]
            for person, _ in self._parts
        ]

    def _batch(self, rows: list[int]) -> RowBatch:
        parts = [self._parts[i] for i in rows]
        codes = [self.codes[p][:, s : s + self.steps] for p, s in parts] if self.codes else []
        if self.words:
            asked = [said for i in rows for said in self._spoken[i]]
        else:
            asked = [(c, self.answers[p]) for c, (p, _) in zip(codes, parts, strict=True)]
        trial_ids = tuple(f"{p}:{s}" for p, s in parts)
        if self.question.digits is None:
            # the answer is a part of the row, behind the codes if those are asked about
            rows_of = [self.question.row(said, answer) for said, answer in asked]
            coded = [self.question.row(c) for c in codes] if self.words else []
            return RowBatch((*_labelled(coded), *rows_of), (), torch.zeros(0), trial_ids)
        coded = [self.question.row(c) for c in codes]
        return RowBatch(
            tuple(_labelled(coded)),
            tuple(self.question.row(said) for said, _ in asked),
            torch.tensor([float(answer) for _, answer in asked]),
            trial_ids,
        )

    def _starts(self, person: str, generator: torch.Generator) -> list[int]:
        if not self.codes:
            return list(range(self.draws))
        length = self.codes[person].shape[1]
        if not self.shuffle:
            return spread_starts(length, self.steps, self.draws)
        last = length - self.steps
        return torch.randint(last + 1, (self.draws,), generator=generator).tolist()

    def _said(self, person: str, generator: torch.Generator) -> tuple[Tensor, float | str]:
        """Tokens of the words of a person, blended with another in training, and the answer."""
        lines = self.question.lines
        assert lines is not None
        values, answer = self.words[person].float(), self.answers[person]
        if self.shuffle:
            if self.reading.blend and not isinstance(answer, str):
                other = self.people[int(torch.randint(len(self.people), (), generator=generator))]
                share = float(torch.rand((), generator=generator))
                values = share * values + (1 - share) * self.words[other].float()
                answer = share * answer + (1 - share) * float(self.answers[other])
            values = values + self.reading.jitter * torch.randn(values.shape, generator=generator)
        return lines.tokens(values), answer


def _labelled(rows: Sequence[MixedSequence]) -> list[MixedSequence]:
    # a single step of codes predicts nothing
    return [row for row in rows if bool((row.labels != IGNORED).any())]


class CodeRows(Objective):
    """Objective of the tuning stage: cross-entropy of next codes, and the loss of the answer.

    Parameters
    ----------
    llm : PreTrainedModel
        Its trained parameters require gradients.
    question : Question
    code_weight : float
    numbers : NumberConfig
    variance : float
        Variance of the training answers, the unit of the squared error of numbers.
    """

    def __init__(
        self,
        llm: Any,
        question: Question,
        *,
        code_weight: float,
        numbers: NumberConfig,
        variance: float = 1.0,
    ) -> None:
        super().__init__()
        self.llm, self.question, self.code_weight = llm, question, code_weight
        self.numbers, self.variance = numbers, variance
        # checkpoints contain trained parameters only, and tied ones once
        named = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        self._learned = frozenset(n for n, _ in named)
        self.register_state_dict_post_hook(_learned_alone)
        self.register_load_state_dict_post_hook(_expect_learned)

    def forward(self, batch: RowBatch) -> dict[str, Tensor]:
        """Compute the loss of a batch and its terms: nats per code, number or word."""
        self.tokens += sum(len(row.ids) for row in (*batch.rows, *batch.asked))
        terms: dict[str, Tensor] = {}
        if batch.rows:
            nll, labels = mixed_nll(self.llm, batch.rows)
            coded = self.question.vocabulary.codes_of(labels) >= 0
            means = (
                shards.share(nll[m].sum() / m.sum().clamp_min(1), m.sum()) for m in (coded, ~coded)
            )
            terms["code_loss"], terms["answer_loss"] = means
        if batch.asked:
            assert self.question.digits is not None
            odds = number_log_odds(self.llm, batch.asked, self.question.digits)
            losses = number_loss(odds, batch.numbers, sd=self.numbers.sd)
            terms["number_loss"], squared = map(shards.share, losses)
            terms["mean_loss"] = squared / self.variance
            terms["answer_loss"] = (
                terms["number_loss"] + self.numbers.mean_weight * terms["mean_loss"]
            )
        loss = terms["answer_loss"]
        if "code_loss" in terms:
            loss = loss + self.code_weight * terms["code_loss"]
        return {"loss": loss, **terms}


def _learned_alone(module: CodeRows, state: dict[str, Any], prefix: str, _: Any) -> None:
    for key in [k for k in state if k.removeprefix(prefix) not in module._learned]:
        del state[key]


def _expect_learned(module: CodeRows, keys: Any) -> None:
    keys.missing_keys[:] = [k for k in keys.missing_keys if k in module._learned]

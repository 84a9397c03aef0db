"""People of a study: their parts, and whether their recordings and sequences have fit lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ...data import ConnectomeStudy, RestingStudy
from ...errors import CohortError, InputError, SplitError, some
from ...lm.context import context_of
from .config import VQLMConfig

Study: TypeAlias = RestingStudy | ConnectomeStudy
_PARTS = ("train", "val", "test")
_LEAST = 3  # people in a part, the minimum for fitting a line


def part_people(study: Study, config: VQLMConfig) -> dict[str, list[str]]:
    """Split people as the column `config.parts` says, else at random by `config.seed`.

    A family is always in one part. Validation people are drawn from the training people if the
    column names none.

    Raises
    ------
    CohortError
        The column is missing or says something else than train, val and test.
    SplitError
        A part would have fewer than three people, or the column parts a family.
    """
    family = study.families()
    names = sorted(set(family.values()))
    part_of = _named(study, family, config.parts) if config.parts else {}
    free = [n for n in names if part_of.get(n, "train") == "train"]
    order = np.random.default_rng(config.seed).permutation(len(free))
    tests = 0 if part_of else round(config.test_part * len(names))
    vals = 0 if "val" in part_of.values() else round(config.val_part * len(free))
    for k, i in enumerate(order):
        part_of[free[i]] = "test" if k < tests else "val" if k < tests + vals else "train"
    parts = {part: [p for p in study.people if part_of[family[p]] == part] for part in _PARTS}
    few = {part: len(people) for part, people in parts.items() if len(people) < _LEAST}
    if few:
        raise SplitError(
            f"part_people: every part must have {_LEAST} people or more, got {few} of "
            f"{len(study.people)} in {len(names)} families. Change test_part and val_part."
        )
    return parts


def _named(study: Study, family: Mapping[str, str], column: str) -> dict[str, str]:
    """Part of each family by a column of the table."""
    part_of: dict[str, str] = {}
    for person, row in study.table.items():
        part = row.get(column, "")
        if part not in _PARTS:
            raise CohortError(
                f"part_people: {column} must be one of {', '.join(_PARTS)} for every person, got "
                f"{part!r} for {person}."
            )
        if part_of.setdefault(family[person], part) != part:
            raise SplitError(
                f"part_people: {column} must keep a family in one part, got {family[person]!r} in "
                f"{part_of[family[person]]} and {part}."
            )
    return part_of


def fold_people(study: Study, folds: int, *, seed: int = 0) -> list[dict[str, list[str]]]:
    """Divide people into folds by whole families; each is the test part once.

    The fold after the tested one validates, and all others train.

    Raises
    ------
    SplitError
        There are fewer than three folds, or a part would have fewer than three people.
    """
    family = study.families()
    names = sorted(set(family.values()))
    if not 3 <= folds <= len(names):
        raise SplitError(
            f"fold_people: folds must be 3 to {len(names)}, the number of families, got {folds}."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[i]: k % folds for k, i in enumerate(order)}
    found = []
    for k in range(folds):
        role = {k: "test", (k + 1) % folds: "val"}
        parts: dict[str, list[str]] = {part: [] for part in _PARTS}
        for person in study.people:
            parts[role.get(fold_of[family[person]], "train")].append(person)
        found.append(check_parts(study, parts))
    return found


def check_parts(study: Study, parts: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return a split of people as lists.

    Raises
    ------
    SplitError
        A part has fewer than three people, a person is in no part or in two, or a family is in two.
    """
    found = {part: list(parts.get(part, ())) for part in _PARTS}
    few = {part: len(people) for part, people in found.items() if len(people) < _LEAST}
    if few:
        raise SplitError(f"check_parts: every part must have {_LEAST} people or more, got {few}.")
    family = study.families()
    if sorted(p for people in found.values() for p in people) != sorted(study.people):
        raise SplitError("check_parts: every person of the study must be in one part, got another.")
    part_of: dict[str, str] = {}
    for part, people in found.items():
        for person in people:
            if part_of.setdefault(family[person], part) != part:
                raise SplitError(
                    f"check_parts: a family must be in one part, got {family[person]} in "
                    f"{part_of[family[person]]} and {part}."
                )
    return found


def check_lengths(study: RestingStudy, steps: int, patch: int) -> None:
    """Raise :class:`InputError` if a recording has fewer than `steps` patches of frames."""
    shortest = min(study.series, key=lambda p: study.series[p].shape[1])
    frames = study.series[shortest].shape[1]
    if frames // patch < steps:
        raise InputError(
            f"train_vqlm: recordings must have {steps * patch} frames for {steps} steps of "
            f"{patch}, got {frames} of {shortest}. Use fewer steps (--config), or leave it out."
        )


def check_context(llm: Any, length: int) -> None:
    """Raise :class:`InputError` if a sequence of `length` tokens does not fit a language model."""
    context = context_of(llm)
    if context is not None and length > context:
        raise InputError(
            f"train_vqlm: a sequence of codes, question and answer must fit the language model's "
            f"context of {context} tokens, got {length}. Use fewer steps (--config), or another "
            "model (--llm)."
        )


def check_targets(
    answers: Mapping[str, float] | Mapping[str, str],
    split: Mapping[str, Sequence[str]],
    *,
    places: int | None,
) -> None:
    """Raise unless the targets of people can be written and scored.

    Parameters
    ----------
    answers : mapping of str to float or str
    split : mapping of str to sequence of str
        People of each part.
    places : int or None
        Digits of a number; None for labels.

    Raises
    ------
    InputError
        A number is negative or has too many digits, or all people of the test part have one target.
    """
    if places is not None:
        most = 10**places - 1
        wrong = [f"{p} ({v:g})" for p, v in answers.items() if not 0 <= round(float(v)) <= most]
        if wrong:
            raise InputError(
                f"train_vqlm: targets must be from 0 to {most} to be written in {places} digits, "
                f"got {some(wrong)}. Set places in the configuration, or another unit."
            )
    if len({answers[p] for p in split["test"]}) < 2:
        raise InputError(
            f"train_vqlm: targets must differ between the {len(split['test'])} people of the test "
            "part, got one: nothing could be scored. Take another split (seed, parts)."
        )

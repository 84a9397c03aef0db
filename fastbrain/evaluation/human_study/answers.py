"""Read the key and the answers of a preference test, and check that they belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._digests import read_sealed
from ..._io import read_json, sha256
from ..._rules import fault_in, table_of, text
from ...errors import CohortError, InputError
from .form import ANSWERS_FORMAT
from .write import STUDY_FORMAT

TRUE, OTHER, NONE = 0.0, 1.0, 2.0  # codes of a rating; NaN where a pair has no answer
_FUNCTION = "score_human_study"


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers to the forms of a study.

    Parameters
    ----------
    study, key : dict
        Contents of ``study.json`` and ``key/key.json``.
    forms : tuple of str
        Forms with answers; each was given to one rater.
    ratings : ndarray, (forms, pairs) float64
        Text that the rater prefers: that of the true brain (0), of the other brain (1), or neither
        (2). NaN where the pair is not on the form or was not answered.
    on_form : ndarray, (forms, pairs) bool
        Which pairs are on each form.
    first : ndarray, (forms, pairs) bool
        Whether the chosen text was the first one; False where none was chosen.
    """

    study: dict[str, Any]
    key: dict[str, Any]
    forms: tuple[str, ...]
    ratings: npt.NDArray[np.float64]
    on_form: npt.NDArray[np.bool_]
    first: npt.NDArray[np.bool_]


def read_answers(
    folder: str | Path, answers: Sequence[str | Path], key: str | Path | None = None
) -> Answers:
    """Read files of answers and un-blind them with the key.

    Parameters
    ----------
    folder : str or Path
        Written by :func:`write_human_study`.
    answers : sequence of str or Path
        One file for each form that was answered.
    key : str or Path, optional
        Default: ``key/key.json`` in `folder`.

    Raises
    ------
    InputError
        A file was edited, is of another study or form, or a form was answered twice.
    """
    folder = Path(folder)
    study, sealed = _read_study(folder, folder / "key" / "key.json" if key is None else Path(key))
    said: dict[str, tuple[Path, Mapping[str, str]]] = {}
    for path in map(Path, answers):
        form, given = _read_one(path, sealed)
        if form in said:
            raise InputError(
                f"{_FUNCTION}: {form} must be answered by one rater, got {said[form][0]} and "
                f"{path}. Keep the complete one, or give the other rater a form of their own."
            )
        said[form] = path, given
    if not said:
        raise InputError(f"{_FUNCTION}: answers must be one file or more, got none.")
    forms = tuple(sorted(said))
    shape = len(forms), len(sealed["pairs"])
    ratings = np.full(shape, np.nan)
    on_form, first = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for row, form in enumerate(forms):
        for position, item in enumerate(sealed["forms"][form]["items"], start=1):
            on_form[row, item["pair"]] = True
            choice = said[form][1].get(str(position))
            if choice is None:
                continue
            true = choice == str(item["true"])
            ratings[row, item["pair"]] = NONE if choice == "0" else TRUE if true else OTHER
            first[row, item["pair"]] = choice == "1"
    return Answers(study, sealed, forms, ratings, on_form, first)


def _read_study(folder: Path, key: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not key.is_file():
        raise InputError(
            f"{_FUNCTION}: {key} must be the key of the study, got no file. Name it: --key FILE "
            "(key= in Python)."
        )
    study = read_sealed(folder / "study.json", error=InputError)
    sealed = read_sealed(key, error=InputError)
    for path, found in ((folder / "study.json", study), (key, sealed)):
        if found.get("format") != STUDY_FORMAT:
            raise InputError(
                f"{_FUNCTION}: {path} must have format '{STUDY_FORMAT}', got "
                f"{found.get('format')!r}. Use the version of fastbrain that wrote it."
            )
    if sha256(key) != study["key_sha256"]:
        raise InputError(
            f"{_FUNCTION}: {key} must be the key of {folder}, got that of another study."
        )
    for name, form in study["forms"].items():
        page = folder / f"{name}.html"
        if page.is_file() and sha256(page) != form["sha256"]:
            raise InputError(
                f"{_FUNCTION}: {page} must be as it was written, got other contents. Answers to an "
                "edited form cannot be used."
            )
    return study, sealed


def _read_one(path: Path, key: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
    """Return the form and the answers of one file."""
    try:
        found = read_json(path)
    except CohortError as error:
        raise InputError(f"{_FUNCTION}: {path} must be a file of answers: {error}") from error
    rules = {
        "format": lambda value: value == ANSWERS_FORMAT,
        "form": text,
        "digest": text,
        "answers": table_of(lambda value: value in ("0", "1", "2")),
    }
    fault = "" if not isinstance(found, dict) else fault_in(found, rules, {})
    if not isinstance(found, dict) or fault:
        raise InputError(
            f"{_FUNCTION}: {path} must hold what a form saves, got "
            + (f"another '{fault}'" if fault else type(found).__name__)
            + ". Ask the rater to save the answers again."
        )
    name = found["form"]
    form = key["forms"].get(name)
    if form is None or form["digest"] != found["digest"]:
        raise InputError(
            f"{_FUNCTION}: {path} must answer a form of this study, got "
            + ("a form of another one." if form else f"'{name[:80]}'.")
            + " Was the study written again after the form was given out?"
        )
    places = {str(n) for n in range(1, len(form["items"]) + 1)}
    if others := sorted(set(found["answers"]) - places):
        raise InputError(
            f"{_FUNCTION}: {path} must answer pairs 1 to {len(places)}, got {others[:3]}. The file "
            "was edited."
        )
    return name, found["answers"]

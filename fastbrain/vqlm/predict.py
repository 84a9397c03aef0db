"""Predict the value of new people with a trained language model on codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._arguments import checked
from .._progress import say
from .._rules import count, list_of, number, positive, record_of, text
from .._run_kind import require_kind
from .._runfiles import read_record
from ..data import ConnectomeStudy, RestingStudy
from ..data.readers.tables import tsv_text
from ..decoding import answer_odds, guess_number
from ..errors import CheckpointError, InputError
from ..evaluation.controls.clinical_baselines import connectivity_features
from ..evaluation.threads import one_thread
from ..lm.code_vocabulary import CodeVocabulary
from ..lm.digit_tokens import DigitTokens
from ..lm.loading import load_llm
from ..lm.mixed_sequence import MixedSequence
from ..nn.saved_folder import check_seal
from .asking import Asking, saved_words
from .connectivity_words import ConnectivityWords
from .question import Question, decoded_series, recording_codes
from .run_records import ANSWERS, KIND, PARTS, read_people
from .saving import load_vq

_SETTINGS = record_of({"question": text, "places": positive, "steps": positive, "draws": count})
_ANSWERS = {"kind": lambda value: value in ("scale", "label"), "labels": list_of(text)}
_CALIBRATION = {"slope": number, "intercept": number}
_TR_TOLERANCE = 1e-3  # seconds


@dataclass(frozen=True)
class PredictedPerson:
    """Prediction for one person.

    Parameters
    ----------
    participant_id : str
    part : str
        Part of the run's split that has a person of this id; "new" if none has.
    value : float or str
        Predicted number, calibrated on the validation people of training; or likeliest label.
    uncalibrated : float or None
        Mean of the distribution over numbers; None for labels.
    probabilities : dict of str to float
        Probability of each label; empty for numbers.
    """

    participant_id: str
    part: str
    value: float | str
    uncalibrated: float | None
    probabilities: dict[str, float]


@dataclass(frozen=True)
class PeoplePrediction:
    """Predictions for the people of a study, in its order.

    Parameters
    ----------
    people : tuple of PredictedPerson
    facts : dict
        Run, study and target, as JSON values.
    """

    people: tuple[PredictedPerson, ...]
    facts: dict[str, Any]

    def to_tsv(self) -> str:
        """Format as a table with a header."""
        labels = list(self.people[0].probabilities)
        names = ["participant_id", self.facts["target"], "part"]
        names += [f"p_{label}" for label in labels] or ["uncalibrated"]
        rows = [
            [
                p.participant_id,
                p.value if isinstance(p.value, str) else f"{p.value:.2f}",
                p.part,
                *(
                    [f"{p.probabilities[label]:.4f}" for label in labels]
                    or [f"{p.uncalibrated:.2f}"]
                ),
            ]
            for p in self.people
        ]
        return tsv_text(names, rows)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        return {**self.facts, "people": [asdict(person) for person in self.people]}


@one_thread()
@checked
def predict_people(run: str | Path, study: RestingStudy | ConnectomeStudy) -> PeoplePrediction:
    """Predict the target of a run for all people of a study.

    Parameters
    ----------
    run : str or Path
        Evaluated run of ``fastbrain train vq-lm``: its evaluation writes the calibration. The study
        of its training is not needed.
    study : RestingStudy or ConnectomeStudy
        Series of the regions and with the repetition time of training, or connectomes of these
        regions for a run on connectomes; its table is not read.

    Returns
    -------
    PeoplePrediction

    Raises
    ------
    CheckpointError
        The run is of another system, not finished, not evaluated or damaged, or the regions differ.
    InputError
        Repetition time or length of the series do not fit, or a run on series gets connectomes or
        the other way round.
    """
    run = Path(run)
    require_kind(run, KIND, function="decode", instead="It decodes windows: name no study.")
    if not (run / ANSWERS).is_file():
        raise CheckpointError(
            f"decode: {run} must have {ANSWERS}, the calibration, got none. fastbrain evaluate "
            f"{run} writes it."
        )
    config = read_record(run / "config.json", {"config": _SETTINGS}, function="decode")["config"]
    answers = read_record(run / ANSWERS, _ANSWERS, function="decode")
    scale = answers["kind"] == "scale"
    if scale:
        read_record(run / ANSWERS, _CALIBRATION, function="decode")
    target, split = read_people(run, function="decode")
    _check_source(study, saved_words(run, config))
    check_seal(run / "llm")
    llm, tokenizer = load_llm(str(run / "llm"))
    digits = DigitTokens.find(tokenizer, places=config["places"]) if scale else None
    connectomes = isinstance(study, ConnectomeStudy)
    vocabulary = CodeVocabulary.empty() if connectomes else CodeVocabulary.find(tokenizer)
    question = Question(tokenizer, vocabulary, digits, config["question"])
    asking = Asking.load(run, config, question)
    rows_of = (
        _connectome_rows(study, asking)
        if isinstance(study, ConnectomeStudy)
        else (_series_rows(run, study, asking))
    )
    part_of = {p: part for part in PARTS for p in split[part]}
    found = []
    for person, rows in rows_of.items():
        part = part_of.get(person, "new")
        if digits is not None:
            mean = float(np.mean([guess_number(llm, row, digits).mean for row in rows]))
            value = answers["intercept"] + answers["slope"] * mean
            found.append(PredictedPerson(person, part, value, mean, {}))
        else:
            odds = _odds(llm, rows, answers["labels"], tokenizer)
            best = max(odds, key=odds.__getitem__)
            found.append(PredictedPerson(person, part, best, None, odds))
    if digits is not None and not answers["slope"]:
        say(
            "note: the calibration is flat, as the predictions of the validation people did not "
            "rise with their values: all values are equal; see the uncalibrated ones"
        )
    facts = {"run": str(run), "study": str(study.path or ""), "target": target}
    return PeoplePrediction(tuple(found), facts | {"kind": answers["kind"]})


def _check_source(study: RestingStudy | ConnectomeStudy, words: ConnectivityWords | None) -> None:
    wanted = "series" if words is None else words.source
    given = "connectomes" if isinstance(study, ConnectomeStudy) else "series"
    if wanted != given:
        raise InputError(f"decode: the study must be of {wanted}, as in training, got {given}.")
    if words is not None and words.regions != study.regions:
        raise CheckpointError(
            f"decode: regions must be those of training in their order, got {len(study.regions)} "
            f"that differ from its {len(words.regions)}."
        )


def _connectome_rows(study: ConnectomeStudy, asking: Asking) -> dict[str, list[MixedSequence]]:
    return {p: asking.behind_words(found) for p, found in study.features().items()}


def _series_rows(run: Path, study: RestingStudy, asking: Asking) -> dict[str, list[MixedSequence]]:
    coder, card = load_vq(run / "coder", regions=study.regions)
    _check(study, card.tr, asking.steps * coder.config.patch)
    stage = {"config": record_of({"frames": positive})}
    frames = read_record(run / "vq" / "config.json", stage, function="decode")["config"]["frames"]
    rows = {}
    for person, series in study.series.items():
        codes = recording_codes(coder, series, frames)
        if asking.words is None:
            rows[person] = asking.behind_codes(codes)
        else:
            features = connectivity_features(decoded_series(coder, codes, frames).T)
            rows[person] = asking.behind_words(features)
    return rows


def _check(study: RestingStudy, tr: float, frames: int) -> None:
    if abs(study.tr - tr) > _TR_TOLERANCE:
        raise InputError(
            f"decode: the study must have the repetition time of training, {tr:g} s, got "
            f"{study.tr:g} s. Resample the series."
        )
    short = [p for p, series in study.series.items() if series.shape[1] < frames]
    if short:
        raise InputError(
            f"decode: series must have {frames} frames or more, got fewer for {len(short)} people, "
            f"e.g. {short[0]}. Leave those people out."
        )


def _odds(llm: Any, rows: Sequence[Any], labels: list[str], tokenizer: Any) -> dict[str, float]:
    found = torch.stack([answer_odds(llm, row, labels, tokenizer) for row in rows]).mean(dim=0)
    return dict(zip(labels, found.tolist(), strict=True))

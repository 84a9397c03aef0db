"""Evaluate a language model on codes: predict targets of test people, compared with baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._environment import check_file
from .._io import write_json
from .._rules import list_of, number
from .._runfiles import read_coding, read_record, read_vqlm
from ..data import ConnectomeStudy, RestingStudy
from ..errors import CheckpointError
from ..evaluation.controls.clinical_baselines import connectivity_features
from ..evaluation.metrics.clinical import label_scores, scale_scores
from ..evaluation.scores import Score, with_adjusted
from ..evaluation.threads import one_thread
from ..lm.code_vocabulary import CodeVocabulary
from ..lm.digit_tokens import DigitTokens
from ..lm.loading import load_llm
from ..lm.mixed_sequence import MixedSequence, additive, stair_step_mask
from ..nn.saved_folder import check_seal
from .answers import labels_of, numbers_of, words_of
from .asking import Asking
from .linear_baselines import Target, linear_predictions
from .question import Question, decoded_series, recording_codes
from .saving import load_vq
from .training.baselines import BASELINE_FILES

Vector = npt.NDArray[np.float64]
_PARTS = ("train", "val", "test")
_METRICS = {
    "scale": ("mae", "r", "prediction_slope", "sd_ratio"),
    "label": ("auroc", "balanced_accuracy", "calibration_error"),
}


@dataclass(frozen=True)
class VQLMResult:
    """Scores of a run.

    Parameters
    ----------
    kind : {"scale", "label"}
        Kind of the target.
    scores : tuple of Score
        ``mae``, ``r``, ``prediction_slope`` and ``sd_ratio``, or ``auroc``, ``balanced_accuracy``
        and ``calibration_error``, of each prediction method, named in `group`; chance and p are
        from predictions permuted across people, and p is adjusted over the whole table.
    coding : dict
        Quality of the codes: R² against mean and AR(1), usage, adversary and probe.
    spelled : float or None
        Mean probability that the first answer token is a digit, without the restriction to digits.
    predicted : dict of str to dict
        By method and person: a number, or the probability of each label in sorted order.
    """

    kind: str
    scores: tuple[Score, ...]
    coding: dict[str, Any]
    spelled: float | None
    predicted: dict[str, dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values, the content of ``metrics.json``."""
        return {
            "kind": f"vq-lm, {self.kind}",
            "scores": [score.to_json() for score in self.scores],
            "coding": self.coding,
            "spelled": self.spelled,
            "predicted": self.predicted,
        }

    def table(self) -> str:
        """Format the tables of the poster as markdown."""
        coding, (first, *others) = self.coding, _METRICS[self.kind]
        lines = [
            *_coding_rows(coding),
            f"| prediction | {first} | chance | p | p, FDR | {' | '.join(others)} | n |",
            "|---" * (6 + len(others)) + "|",
        ]
        for way in self.predicted:
            main, *more = (
                next(s for s in self.scores if s.group == way and s.metric == metric)
                for metric in (first, *others)
            )
            cells = [_shown(main.value), _shown(main.chance), _shown(main.p, 3)]
            cells += [_shown(main.adjusted, 3), *map(_with_interval, more), str(main.n)]
            lines.append(f"| {way} | {' | '.join(cells)} |")
        return "\n".join(lines)


@one_thread()
def evaluate_vqlm(
    run: str | Path,
    study: RestingStudy | ConnectomeStudy,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> VQLMResult:
    """Score a run of :func:`train_vqlm` and write ``metrics.json`` into its folder.

    Methods, scored on the test people:

    - ``"digits"``: mean of the distribution over the allowed numbers; ``"digits, likeliest"``: the
      most probable number; ``"digits, calibrated"``: the mean after a linear fit on the validation
      people. For labels, ``"words"``: the probability of each label.
    - ``"head"``: ridge (or logistic) regression on the language model's mean state over the codes.
    - ``"connectivity of codes"``: the same on connectivity of the series decoded from the codes.
    - ``"image"``: a small vision model on the series as a picture;
      ``"vision-language model"``: a pretrained one that writes the answer.
    - ``"encoder and language model"``: the initial language model on encoder states as a prefix.
    - ``"mean"``, ``"connectivity ridge"`` and, for a number, ``"connectivity SVR"``: baselines
      without codes or language model.

    ``prediction_slope`` (of the prediction on the true number) and ``sd_ratio`` are below 1 for
    predictions that are closer to their mean than the true numbers.

    Parameters
    ----------
    run : str or Path
    study : RestingStudy or ConnectomeStudy
        The study used for training.
    permutations : int
    seed : int

    Raises
    ------
    CheckpointError
        A file is missing or damaged, or the people differ from those of training.
    DiskError
        The run folder is not writable; this is checked before anything is computed.
    """
    run = Path(run)
    check_file(run / "metrics.json", function="evaluate_vqlm")
    recorded = study if isinstance(study, RestingStudy) else None
    config, split = read_vqlm(run, function="evaluate_vqlm")
    people = [p for part in _PARTS for p in split[part]]
    if sorted(people) != sorted(study.people):
        raise CheckpointError(
            f"evaluate_vqlm: the study must hold the {len(people)} people of training, got "
            f"{len(study.people)}."
        )
    scale = config["kind"] == "scale"
    target: Target = study.numbers(config["target"]) if scale else study.labels(config["target"])
    check_seal(run / "llm")
    llm, tokenizer = load_llm(str(run / "llm"))
    fitted = (*split["train"], *split["test"])
    ridge = partial(linear_predictions, split=split, target=target, family=study.families())
    coding: dict[str, Any] = {}
    codes: dict[str, Tensor] = {}
    vocabulary = CodeVocabulary.empty()
    if recorded is not None:
        coding, frames = read_coding(run, function="evaluate_vqlm")
        coder = load_vq(run / "coder", regions=study.regions)[0]
        vocabulary = CodeVocabulary.find(tokenizer)
        codes = {p: recording_codes(coder, recorded.series[p], frames) for p in people}
        series = {p: decoded_series(coder, codes[p], frames) for p in people}
        features = {p: connectivity_features(values.T) for p, values in series.items()}
    else:
        features = study.features()
    digits = DigitTokens.find(tokenizer, places=config["places"]) if scale else None
    question = Question(tokenizer, vocabulary, digits, config["question"])
    asking = Asking.load(run, config, question)
    asked = rows = {p: asking.behind_codes(found) for p, found in codes.items()}
    if asking.words is not None:
        asked = {p: asking.behind_words(features[p]) for p in people}
    if scale:
        predicted, spelled = numbers_of(llm, question, asked, split, target)
    else:
        predicted, spelled = words_of(llm, question, asked, split, target), None

    if recorded is not None:
        states = {p: _state(llm, question, rows[p]) for p in fitted}
        predicted["head"] = ridge(states)["connectivity ridge"]
        predicted["connectivity of codes"] = ridge(features)["connectivity ridge"]
        features = {p: connectivity_features(recorded.series[p].T) for p in fitted}
    rules = dict.fromkeys(people, number if scale else list_of(number, least=2))
    for file, name in BASELINE_FILES.items():
        if (run / file).exists():
            predicted[name] = read_record(run / file, rules, function="evaluate_vqlm")
    predicted |= ridge(features, support_vectors=True)

    tests = split["test"]
    truth = [target[p] for p in tests]
    groups = [study.families()[p] for p in tests]
    scored = partial(scale_scores, truth) if scale else partial(label_scores, truth)
    classes = {} if scale else {"classes": labels_of(target)}
    scores: list[Score] = []
    for way, values in predicted.items():
        guess = np.array([values[p] for p in tests])
        found = scored(guess, groups=groups, permutations=permutations, seed=seed, **classes)
        scores += [replace(found[metric], group=way) for metric in _METRICS[config["kind"]]]
    kept = {way: {p: values[p] for p in tests} for way, values in predicted.items()}
    result = VQLMResult(config["kind"], with_adjusted(scores), coding, spelled, kept)
    write_json(run / "metrics.json", result.to_json())
    return result


@torch.no_grad()
def _state(llm: Any, question: Question, rows: Sequence[MixedSequence]) -> Vector:
    """Mean state (d,) of the last layer over all codes, averaged over the rows."""
    found = []
    for row in rows:
        weight = llm.get_input_embeddings().weight
        states = llm.base_model(
            input_ids=row.ids[None].to(weight.device),
            attention_mask=additive(stair_step_mask(row.blocks), weight.dtype).to(weight.device),
            use_cache=False,
        ).last_hidden_state[0]
        coded = (question.vocabulary.codes_of(row.ids) >= 0).to(states.device)
        found.append(states[coded].double().mean(dim=0).cpu().numpy())
    return np.mean(found, axis=0)


def _coding_rows(coding: Mapping[str, Any]) -> list[str]:
    """Table of the codes; none for connectomes."""
    if not coding:
        return []
    probe = coding.get("probe") or {}
    return [
        "| R² mean | R² AR(1) | codes in use | adversary | probe |",
        "|---|---|---|---|---|",
        f"| {coding['r2_mean']:.2f} | {coding['r2_ar1']:.2f} | {coding['usage']['share']:.0%} "
        f"| {_shown(coding['adversary'])} | {_shown(probe.get('accuracy'))} |",
        "",
    ]


def _with_interval(score: Score) -> str:
    """Value with its interval, if there is one."""
    if score.interval is None:
        return _shown(score.value)
    return f"{score.value:.2f} [{score.interval.low:.2f}, {score.interval.high:.2f}]"


def _shown(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"

"""What a language model on codes says of people never seen, beside what needs no such model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._io import read_json, write_json
from ..data import RestingStudy
from ..decoding import guess_number
from ..errors import CheckpointError
from ..models import CodeVocabulary, DigitTokens, Question, load_llm, load_vq, recording_codes
from .clinical import scale_scores
from .clinical_baselines import ClinicalCohort, baseline_predictions, connectivity_features
from .scores import Score

Vector = npt.NDArray[np.float64]
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class VQLMResult:
    """Scores of a run.

    Parameters
    ----------
    scores : tuple of Score
        ``mae`` and ``r`` of each way to predict the target, named in `group`; chance and p from
        predictions dealt to other people.
    coding : dict
        What the codes keep: R² against mean and AR(1), usage, adversary and probe.
    spelled : float
        Mean probability of a digit where the answer stands, before only digits were allowed.
    predicted : dict of str to dict of str to float
        By way and person.
    """

    scores: tuple[Score, ...]
    coding: dict[str, Any]
    spelled: float
    predicted: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """``metrics.json``: plain JSON values."""
        return {
            "kind": "vq-lm",
            "scores": [score.to_json() for score in self.scores],
            "coding": self.coding,
            "spelled": self.spelled,
            "predicted": self.predicted,
        }

    def table(self) -> str:
        """The poster's table, as markdown."""
        coding = self.coding
        probe = coding.get("probe") or {}
        lines = [
            "| R² mean | R² AR(1) | codes in use | adversary | probe |",
            "|---|---|---|---|---|",
            f"| {coding['r2_mean']:.2f} | {coding['r2_ar1']:.2f} | {coding['usage']['share']:.0%} "
            f"| {_told(coding['adversary'])} | {_told(probe.get('accuracy'))} |",
            "",
            "| prediction | mae | chance | p | r | n |",
            "|---|---|---|---|---|---|",
        ]
        ways = list(dict.fromkeys(score.group for score in self.scores))
        for way in ways:
            mae, r = (
                next(s for s in self.scores if s.group == way and s.metric == metric)
                for metric in ("mae", "r")
            )
            lines.append(
                f"| {way} | {mae.value:.1f} | {_told(mae.chance, 1)} | {_told(mae.p, 3)} "
                f"| {r.value:.2f} | {mae.n} |"
            )
        return "\n".join(lines)


def evaluate_vqlm(
    run: str | Path, study: RestingStudy, *, permutations: int = 999, seed: int = 0
) -> VQLMResult:
    """Score a run of :func:`fastbrain.training.train_vqlm`; writes ``metrics.json`` into it.

    Of the test people:

    - ``"digits"``: mean of the distribution over the numbers that may be said;
      ``"digits, likeliest"``: the one most probable; ``"digits, calibrated"``: the mean on the line
      that fits the validation people best.
    - ``"head"``: ridge regression on the language model's mean state over the codes.
    - ``"connectivity of codes"``: connectivity ridge on the series that the codes give back.
    - ``"image"``: the vision model that is shown the series as a picture.
    - ``"mean"`` and ``"connectivity ridge"``: no model of ours.

    Parameters
    ----------
    run : str or Path
    study : RestingStudy
        The one of training.
    permutations : int
    seed : int

    Raises
    ------
    CheckpointError
        A file is missing or damaged, or the people are others.
    """
    run = Path(run)
    config, split = read_json(run / "config.json"), read_json(run / "split.json")
    people = [p for part in _PARTS for p in split[part]]
    if sorted(people) != sorted(study.series):
        raise CheckpointError(
            f"evaluate_vqlm: the study must hold the {len(people)} people of training, got "
            f"{len(study.series)}."
        )
    coder = load_vq(run / "coder", regions=study.regions)[0]
    llm, tokenizer = load_llm(str(run / "llm"))
    question = Question(
        tokenizer,
        CodeVocabulary.find(tokenizer),
        DigitTokens.find(tokenizer, places=config["places"]),
        config["question"],
    )
    frames = read_json(run / "vq" / "config.json")["config"]["frames"]
    codes = {p: recording_codes(coder, study.series[p], frames) for p in people}
    rows = {p: _parts(codes[p], config["steps"], config["draws"]) for p in people}
    target = study.numbers(config["target"])

    guesses = {
        p: [guess_number(llm, question.row(part), question.digits) for part in rows[p]]
        for p in (*split["val"], *split["test"])
    }
    digits = {p: float(np.mean([g.mean for g in found])) for p, found in guesses.items()}
    slope, start = _line(
        np.array([digits[p] for p in split["val"]]), np.array([target[p] for p in split["val"]])
    )
    predicted: dict[str, Mapping[str, float]] = {
        "digits": digits,
        "digits, likeliest": {
            p: float(np.median([g.likeliest for g in found])) for p, found in guesses.items()
        },
        "digits, calibrated": {p: start + slope * value for p, value in digits.items()},
    }
    states = {p: _state(llm, question, rows[p]) for p in (*split["train"], *split["test"])}
    coded = {p: connectivity_features(_back(coder, codes[p], frames).T) for p in states}
    plain = {p: connectivity_features(study.series[p].T) for p in states}
    parted = (split, target, study.families())
    predicted["head"] = _ridge(states, *parted)["connectivity ridge"]
    predicted["connectivity of codes"] = _ridge(coded, *parted)["connectivity ridge"]
    if (run / "image.json").exists():
        predicted["image"] = read_json(run / "image.json")
    baselines = _ridge(plain, *parted)
    predicted |= {name: baselines[name] for name in ("mean", "connectivity ridge")}

    tests = split["test"]
    truth = [target[p] for p in tests]
    groups = [study.families()[p] for p in tests]
    scores = []
    for way, values in predicted.items():
        found = scale_scores(
            truth,
            [values[p] for p in tests],
            groups=groups,
            permutations=permutations,
            seed=seed,
        )
        scores += [replace(found[metric], group=way) for metric in ("mae", "r")]
    spelled = float(np.mean([g.spelled for p in tests for g in guesses[p]]))
    kept = {way: {p: float(values[p]) for p in tests} for way, values in predicted.items()}
    result = VQLMResult(tuple(scores), read_json(run / "coding.json"), spelled, kept)
    write_json(run / "metrics.json", result.to_json())
    return result


def _parts(codes: Tensor, steps: int, draws: int) -> list[Tensor]:
    """`draws` parts of `steps` time steps, spread evenly over a recording (R, P)."""
    last = codes.shape[1] - steps
    starts = [i * last // max(1, draws - 1) if draws > 1 else 0 for i in range(draws)]
    return [codes[:, s : s + steps] for s in starts]


@torch.no_grad()
def _state(llm: Any, question: Question, parts: Sequence[Tensor]) -> Vector:
    """Mean state (d,) of the last layer over all codes of some rows."""
    from ..models.mixed import additive, stair_step_mask

    found = []
    for part in parts:
        row = question.row(part)
        weight = llm.get_input_embeddings().weight
        states = llm.base_model(
            input_ids=row.ids[None].to(weight.device),
            attention_mask=additive(stair_step_mask(row.blocks), weight.dtype).to(weight.device),
            use_cache=False,
        ).last_hidden_state[0]
        coded = (question.vocabulary.codes_of(row.ids) >= 0).to(states.device)
        found.append(states[coded].double().mean(dim=0).cpu().numpy())
    return np.mean(found, axis=0)


@torch.no_grad()
def _back(coder: Any, codes: Tensor, frames: int) -> Vector:
    """Series (R, T) of codes (R, P), window by window as they were made."""
    steps = frames // coder.config.patch
    parts = [coder.decode(part[None])[0] for part in codes.split(steps, dim=1)]
    return torch.cat(parts, dim=1).double().cpu().numpy()


def _ridge(
    features: Mapping[str, Vector],
    split: Mapping[str, Sequence[str]],
    target: Mapping[str, float],
    family: Mapping[str, str],
) -> dict[str, dict[str, float]]:
    """Mean and ridge regression, fitted on the training people, by person of the test."""

    def cohort(people: Sequence[str]) -> ClinicalCohort:
        # there is no confound: a column of zeros says so
        return ClinicalCohort(
            np.stack([features[p] for p in people]),
            np.array([target[p] for p in people]),
            np.zeros((len(people), 1)),
            [family[p] for p in people],
        )

    found = baseline_predictions(cohort(split["train"]), cohort(split["test"]), kind="scale")
    return {
        name: dict(zip(split["test"], values.tolist(), strict=True))
        for name, values in found.items()
    }


def _line(guess: Vector, truth: Vector) -> tuple[float, float]:
    """Slope and intercept of least squares; slope 0 where guesses are all the same."""
    spread = guess - guess.mean()
    power = float(spread @ spread)
    slope = float(spread @ truth) / power if power > 0 else 0.0
    return slope, float(truth.mean() - slope * guess.mean())


def _told(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"

"""Real fMRI: how old a person is, from which regions of the brain go together.

    python studies/age_connectome.py --data DIR --out metrics.json [--test-data DIR]
        [--language-model]

`DIR` holds ``basc064_connectivity.npz`` (key ``a``: one row a person, the lower triangle of the
correlations of 64 regions) and ``participants.tsv`` (the same people in the same order, with
``participant_id``, ``Age`` and ``Gender``): OpenNeuro ds000228, children and adults who watch a
film. Without ``--test-data``, ten folds; everything that is chosen or fitted is so within the
training people of a fold.

Two models and the baselines of the clinical suite (mean, sex, connectivity ridge) see the same
folds:

- ``svr``: a linear support vector regression on Fisher z of the correlations; its penalty by
  inner folds.
- ``model``: a support vector regression whose features (Fisher z, or the tangent space at the
  training mean, in which a correlation counts beside all others; Varoquaux et al. 2010, Dadi et
  al. 2019), kernel (linear or radial), target (age, or its logarithm: a year is more to a child
  than to an adult) and penalty are all chosen by the absolute error in inner folds.

With ``--language-model`` a third one sees them: what ``fastbrain train vq-lm`` does with a study of
connectomes. It reads components of the correlations as words and writes the age in digits
(docs/vq.md): ``lm_mae`` is of the mean of its distribution over numbers, and ``lm_likeliest_mae``
of its most probable number.

Written to ``--out``: ``mae`` (years) and ``r`` of the model, ``svr_mae``, ``mean_mae``, ``n``, what
was ``chosen`` in each fold, and every score with chance, interval and p. ``--noise SEED`` puts
Gaussian noise of the same mean and variance in the place of every correlation: nothing may then
beat ``median_mae``, the error of the median age (smaller than that of the mean, by construction).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from sklearn.model_selection import KFold
from sklearn.svm import SVR

from fastbrain._arrays import read_npz
from fastbrain._io import write_json
from fastbrain.data import ConnectomeStudy, fisher_z, fit_tangent_space
from fastbrain.data.readers.tables import read_tsv
from fastbrain.errors import CohortError, FastbrainError, LeakError
from fastbrain.evaluation import (
    ClinicalCohort,
    baseline_predictions,
    beside_baselines,
    scale_scores,
)

FOLDS, INNER_FOLDS = 10, 5
LIMIT = 1 - 1e-6  # of the correlations of noise
COSTS = np.logspace(-3, 1, 9)
TARGETS = {"age": (lambda y: y, lambda y: y), "log age": (np.log, np.exp)}


@dataclass(frozen=True)
class People:
    """Correlations (N, R(R-1)/2) of people with their name, age and sex."""

    names: np.ndarray
    correlations: np.ndarray
    age: np.ndarray
    sex: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> People:
        return People(*(values[rows] for values in vars(self).values()))

    @property
    def cohort(self) -> ClinicalCohort:
        return ClinicalCohort(fisher_z(self.correlations), self.age, self.sex[:, None], self.names)


def main() -> None:
    """Read, predict everybody by others, report."""
    args = _arguments()
    people = read(args.data)
    if args.test_data is None:
        sides = [
            (people[train], people[test])
            for train, test in KFold(FOLDS, shuffle=True, random_state=args.seed).split(people.age)
        ]
    else:
        tested = read(args.test_data)
        refuse_shared(people, tested)
        sides = [(people, tested)]
    if args.noise is not None:
        sides = with_noise(sides, np.random.default_rng(args.noise))
    metrics = report(sides, language=args.language_model) | {"noise": args.noise is not None}
    print(json.dumps({k: v for k, v in metrics.items() if k != "scores"}, indent=2))
    if args.out:
        write_json(args.out, metrics)


def read(folder: Path) -> People:
    """Everybody of a folder."""
    archive = folder / "basc064_connectivity.npz"
    correlations = read_npz(archive, ["a"], where="age", error=CohortError)["a"].astype(np.float64)
    try:
        _, rows = read_tsv(folder / "participants.tsv")
        names, age, sex = (
            np.array([r[k] for r in rows]) for k in ("participant_id", "Age", "Gender")
        )
        age = age.astype(np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise CohortError(
            f"age: {folder} must hold participants.tsv with participant_id, Age and Gender, "
            f"got: {error}."
        ) from error
    regions = (1 + np.sqrt(1 + 8 * correlations.shape[-1])) / 2
    fits = correlations.ndim == 2 and len(correlations) == len(rows) and regions == int(regions)
    fits = fits and len(set(names)) == len(names)
    if not fits or not (np.abs(correlations) <= 1).all() or not (age > 0).all():
        raise CohortError(
            f"age: correlations of {folder} must be a lower triangle in [-1, 1] for each of the "
            f"{len(rows)} people, each named once with an age above 0, got shape "
            f"{correlations.shape}."
        )
    return People(names, correlations, age, (sex == "F").astype(np.float64))


def refuse_shared(one: People, other: People) -> None:
    """No person may be on both sides."""
    shared = sorted(set(one.names) & set(other.names))
    if shared:
        raise LeakError(f"age: no person may be in --data and --test-data, got {shared[:5]}.")


def with_noise(
    sides: list[tuple[People, People]], rng: np.random.Generator
) -> list[tuple[People, People]]:
    """Gaussian noise in place of correlations: one row a person, whichever side they are on."""
    drawn: dict[str, np.ndarray] = {}

    def noisy(part: People) -> People:
        center, spread = part.correlations.mean(), part.correlations.std()
        for name in part.names:
            row = center + spread * rng.standard_normal(part.correlations.shape[1])
            drawn.setdefault(name, row.clip(-LIMIT, LIMIT))
        rows = np.stack([drawn[name] for name in part.names])
        return People(part.names, rows, part.age, part.sex)

    return [(noisy(train), noisy(test)) for train, test in sides]


def size_of(correlations: np.ndarray) -> int:
    """Number of regions of lower triangles (N, R(R-1)/2)."""
    return round((1 + np.sqrt(1 + 8 * correlations.shape[1])) / 2)


def kernels(
    train: People, test: People
) -> Iterator[tuple[tuple[str, str], np.ndarray, np.ndarray]]:
    """Kernel among training people, and of test people with them, by features and form."""
    r = train.correlations, test.correlations
    z = tuple(map(fisher_z, r))
    center, spread = z[0].mean(axis=0), z[0].std(axis=0).clip(1e-12)
    tangent = fit_tangent_space(r[0], fitted_on=train.names.tolist())
    spaces = {
        "fisher z": tuple((part - center) / spread for part in z),
        "tangent": tuple(map(tangent.transform, r)),
    }
    for name, (one, other) in spaces.items():
        one, other = one - one.mean(axis=0), other - one.mean(axis=0)
        own = (one**2).sum(axis=1)
        scale = own.mean()
        linear = one @ one.T / scale, other @ one.T / scale
        yield (name, "linear"), *linear
        lengths = own / scale, (other**2).sum(axis=1) / scale
        radial = [
            np.exp(-(length[:, None] + lengths[0] - 2 * product_) / 2)
            for length, product_ in zip(lengths, linear, strict=True)
        ]
        yield (name, "radial"), *radial


def regression(
    kernel: np.ndarray, across: np.ndarray, age: np.ndarray, target: str, cost: float
) -> np.ndarray:
    """Ages of test people by support vector regression."""
    forward, back = TARGETS[target]
    y = forward(age)
    center, spread = y.mean(), y.std()
    model = SVR(kernel="precomputed", C=cost, epsilon=0.1).fit(kernel, (y - center) / spread)
    return back(center + spread * model.predict(across))


def predict(train: People, test: People) -> tuple[dict[str, np.ndarray], str]:
    """Ages of test people by model and plain SVR, and what was chosen for the model."""
    errors: dict[tuple, list[np.ndarray]] = {}
    for inner, left in KFold(INNER_FOLDS, shuffle=True, random_state=0).split(train.age):
        for form, kernel, across in kernels(train[inner], train[left]):
            for target, cost in product(TARGETS, COSTS):
                guess = regression(kernel, across, train.age[inner], target, cost)
                errors.setdefault((*form, target, cost), []).append(np.abs(guess - train.age[left]))
    error = {choice: np.concatenate(parts).mean() for choice, parts in errors.items()}
    plain = [c for c in error if c[:3] == ("fisher z", "linear", "age")]
    chosen = {"model": min(error, key=error.get), "svr": min(plain, key=error.get)}
    ready = {form: (kernel, across) for form, kernel, across in kernels(train, test)}
    ages = {
        name: regression(*ready[choice[:2]], train.age, *choice[2:])
        for name, choice in chosen.items()
    }
    return ages, ", ".join(map(str, chosen["model"]))


def answers(train: People, test: People) -> dict[str, np.ndarray]:
    """Ages of test people that a language model writes in digits."""
    from fastbrain.integrations.peft import accelerate_peft
    from fastbrain.vqlm.evaluate import evaluate_vqlm
    from fastbrain.vqlm.training.config import VQLMConfig
    from fastbrain.vqlm.training.pipeline import train_vqlm

    parts = {"train": train, "test": test}
    study = ConnectomeStudy(
        {n: row for p in parts.values() for n, row in zip(p.names, p.correlations, strict=True)},
        {
            name: {"age": f"{age!r}", "part": part}
            for part, people in parts.items()
            for name, age in zip(people.names, people.age.tolist(), strict=True)
        },
        tuple(f"region {i}" for i in range(size_of(train.correlations))),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train_vqlm(study, run, VQLMConfig(parts="part"), fused=accelerate_peft)
        predicted = evaluate_vqlm(run, study).predicted
    ways = {"language model": "digits", "language model, likeliest": "digits, likeliest"}
    return {
        name: np.array([predicted[way][person] for person in test.names])
        for name, way in ways.items()
    }


def report(sides: list[tuple[People, People]], *, language: bool = False) -> dict:
    """Scores of everybody's predicted age, of the model and of all that it has to beat."""
    truth = np.concatenate([test.age for _, test in sides])
    found: dict[str, list[np.ndarray]] = {}
    chosen = []
    for train, test in sides:
        ages, choice = predict(train, test)
        chosen.append(choice)
        ages |= baseline_predictions(train.cohort, test.cohort, kind="scale")
        ages["median"] = np.full(len(test.age), np.median(train.age))
        if language:
            ages |= answers(train, test)
        for name, guess in ages.items():
            found.setdefault(name, []).append(guess)
    predicted = {name: np.concatenate(parts) for name, parts in found.items()}
    model = predicted.pop("model")
    scores = beside_baselines(lambda p: scale_scores(truth, p), model, predicted)
    spoken = {}
    if language:
        spoken = {
            "lm_mae": scores["language model"]["mae"].value,
            "lm_r": scores["language model"]["r"].value,
            "lm_p": scores["language model"]["mae"].p,
            "lm_likeliest_mae": scores["language model, likeliest"]["mae"].value,
        }
    return {
        **spoken,
        "mae": scores["model"]["mae"].value,
        "r": scores["model"]["r"].value,
        "p": scores["model"]["mae"].p,
        "svr_mae": scores["svr"]["mae"].value,
        "ridge_mae": scores["connectivity ridge"]["mae"].value,
        "mean_mae": scores["mean"]["mae"].value,
        "median_mae": scores["median"]["mae"].value,
        "n": len(truth),
        "chosen": chosen,
        "scores": {
            name: [score.to_json() for score in row.values()] for name, row in scores.items()
        },
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--test-data", type=Path, help="people to test; default: ten folds")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the ten folds")
    parser.add_argument("--noise", type=int, metavar="SEED", help="noise instead of brains")
    parser.add_argument("--language-model", action="store_true", help="a minute or so for a fold")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(f"error: {error}") from None

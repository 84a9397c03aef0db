"""Baselines of age and label decoders: training mean, confounds, connectivity ridge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...data.features.connectomes import fisher_z
from ...errors import InputError, MissingPartError, SplitError

_PENALTIES = np.logspace(0, 6, 13)  # for standardised features
INNER_FOLDS = 5


@checked
@dataclass(frozen=True)
class ClinicalCohort:
    """Connectivity, target, confounds and groups of subjects.

    Parameters
    ----------
    connectivity : ndarray, (N, F)
        For instance from :func:`connectivity_features`.
    target : ndarray, (N,)
        Values of a scale, or labels.
    confounds : ndarray, (N, K)
        Numeric confounds, for instance head motion, sex and site (one column per site).
    groups : sequence, (N,)
        Family or subject; a group is never on both sides of a fold.

    Raises
    ------
    InputError
        The numbers of rows differ, there are no confounds, or a number is not finite.
    """

    connectivity: npt.NDArray[Any]
    target: npt.NDArray[np.generic]
    confounds: npt.NDArray[Any]
    groups: Sequence[object]

    def __post_init__(self) -> None:
        sizes = [len(v) for v in (self.connectivity, self.target, self.confounds, self.groups)]
        if len(set(sizes)) != 1 or self.connectivity.ndim != 2 or self.confounds.ndim != 2:
            raise InputError(
                "ClinicalCohort: connectivity (N, F), target, confounds (N, K) and groups must "
                f"have one row a person, got {self.connectivity.shape}, {sizes[1]}, "
                f"{self.confounds.shape} and {sizes[3]}."
            )
        if self.confounds.shape[1] < 1:
            raise InputError(
                "ClinicalCohort: confounds must have at least one column, got none. Head motion "
                "is nearly always known."
            )
        numbers = {"connectivity": self.connectivity, "confounds": self.confounds}
        if self.target.dtype.kind in "fiub":
            numbers["target"] = self.target
        for name, values in numbers.items():
            bad = int((~np.isfinite(values)).sum())
            if bad:
                raise InputError(
                    f"ClinicalCohort: {name} must be finite, got {bad} values that "
                    "are not. Leave those people out, and say how many."
                )

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> ClinicalCohort:
        """Select subjects by row."""
        groups = [self.groups[i] for i in rows]
        return ClinicalCohort(
            self.connectivity[rows], self.target[rows], self.confounds[rows], groups
        )


@checked
def connectivity_features(series: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute Fisher z of the correlations between regions, lower triangle.

    Parameters
    ----------
    series : array_like, (T >= 3, P >= 2)
        Time courses of regions.

    Returns
    -------
    ndarray, (P·(P-1)/2,) float64
        Correlations are clipped to ±0.999999.

    Raises
    ------
    InputError
        A region is constant, or a value is not finite.
    """
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 3 or values.shape[1] < 2:
        raise InputError(
            f"connectivity_features: series must be (T >= 3, P >= 2), got {values.shape}."
        )
    if not (np.ptp(values, axis=0) > 0).all():  # negated comparison: NaN fails the check
        raise InputError(
            "connectivity_features: series must be finite and change in every region, got "
            f"{int((~(np.ptp(values, axis=0) > 0)).sum())} regions that do not."
        )
    rows, columns = np.tril_indices(values.shape[1], -1)
    return fisher_z(np.asarray(np.corrcoef(values.T))[rows, columns])


@checked
def baseline_predictions(
    train: ClinicalCohort, test: ClinicalCohort, *, kind: Literal["scale", "label"]
) -> dict[str, npt.NDArray[np.float64]]:
    """Predict `test` with the baselines, fitted on `train` only.

    Parameters
    ----------
    train, test : ClinicalCohort
        No group is in both.
    kind : {"scale", "label"}

    Returns
    -------
    dict of str to ndarray, (N,) or (N, C) float64
        ``"mean"`` (the training mean; for labels the class frequencies), ``"confounds"`` and
        ``"connectivity ridge"``: ridge regression, or logistic regression with the same penalty
        grid, on standardised features. The penalty is chosen by inner folds of whole training
        groups. Classes are sorted.

    Raises
    ------
    MissingPartError
        scikit-learn is not installed.
    SplitError
        A group is on both sides, fewer than two training groups, or one training class.
    """
    if kind not in ("scale", "label"):
        raise InputError(f"baseline_predictions: kind must be 'scale' or 'label', got {kind!r}.")
    shared = {str(g) for g in train.groups} & {str(g) for g in test.groups}
    if shared:
        raise SplitError(
            f"baseline_predictions: no group may be on both sides, got {sorted(shared)[:5]}."
        )
    classes = np.unique(train.target)
    if kind == "label":
        if len(classes) < 2:
            raise SplitError(
                f"baseline_predictions: train must hold two classes, got {classes.tolist()}."
            )
        frequency = np.array([(train.target == c).mean() for c in classes])
        mean: npt.NDArray[np.float64] = np.tile(frequency, (len(test.target), 1))
    else:
        if train.target.dtype.kind not in "biuf":
            raise InputError(
                f"baseline_predictions: a scale must be numbers, got {train.target.dtype}. Use "
                "kind='label' for classes."
            )
        mean = np.full(len(test.target), float(np.mean(train.target.astype(np.float64))))
    predictions = {"mean": mean}
    for name, column in (("confounds", "confounds"), ("connectivity ridge", "connectivity")):
        model = _search(kind, train.groups, train.target)
        names = [str(g) for g in train.groups]
        try:
            model.fit(getattr(train, column), train.target, groups=names)
        except ValueError as error:
            raise SplitError(
                f"baseline_predictions: inner folds of the training groups must be fit for {kind}, "
                f"got: {error}. Use fewer, larger or more balanced groups."
            ) from error
        features = getattr(test, column)
        guess = model.predict_proba(features) if kind == "label" else model.predict(features)
        predictions[name] = np.asarray(guess, dtype=np.float64)
    return predictions


@checked
def cross_validated_baselines(
    cohort: ClinicalCohort, *, kind: Literal["scale", "label"], folds: int = 5, seed: int = 0
) -> dict[str, npt.NDArray[np.float64]]:
    """Predict each subject with baselines fitted on other groups.

    Parameters
    ----------
    cohort : ClinicalCohort
    kind : {"scale", "label"}
    folds : int
        Number of folds of whole groups, drawn at random; stratified by class for labels.
    seed : int

    Returns
    -------
    dict of str to ndarray, (N,) or (N, C) float64
        As :func:`baseline_predictions`. Predictions of ``"mean"`` correlate slightly negatively
        with the truth by construction: a fold's training mean deviates away from its test part.

    Raises
    ------
    SplitError
        There are fewer groups than folds, a class occurs in fewer groups than folds, or is in the
        test part of one fold alone.
    """
    found: dict[str, npt.NDArray[np.float64]] = {}
    for train, test in _folds(cohort, kind, folds, seed):
        if kind == "label" and set(cohort.target[train]) != set(cohort.target):
            raise SplitError(
                "cross_validated_baselines: the training part of every fold must have every class, "
                "got a fold without one. Use fewer folds, or another seed."
            )
        for name, guess in baseline_predictions(cohort[train], cohort[test], kind=kind).items():
            whole = np.empty((len(cohort.target), *guess.shape[1:]))
            found.setdefault(name, whole)[test] = guess
    return found


def _folds(
    cohort: ClinicalCohort, kind: str, folds: int, seed: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    learn = import_sklearn()
    names = [str(g) for g in cohort.groups]
    if folds < 2 or len(set(names)) < folds:
        raise SplitError(
            f"cross_validated_baselines: folds must be in [2, groups], got {folds} folds of "
            f"{len(set(names))} groups. Use fewer folds."
        )
    if kind == "label":
        homes = {
            c: {g for g, t in zip(names, cohort.target, strict=True) if t == c}
            for c in np.unique(cohort.target)
        }
        few = {str(c): len(home) for c, home in homes.items() if len(home) < folds}
        if few or len(homes) < 2:
            raise SplitError(
                f"cross_validated_baselines: two classes or more must occur in at least {folds} "
                f"groups each, got {few or 'one class'}. Use fewer folds."
            )
        splitter = learn.model_selection.StratifiedGroupKFold(
            folds, shuffle=True, random_state=seed
        )
    else:
        splitter = learn.model_selection.GroupKFold(folds, shuffle=True, random_state=seed)
    yield from splitter.split(cohort.connectivity, cohort.target, names)


def _search(kind: str, groups: Sequence[object], target: npt.NDArray[Any]) -> Any:
    """Grid search of a standardised linear model; penalty chosen within the training groups."""
    learn = import_sklearn()
    count = len({str(g) for g in groups})
    if count < 2:
        raise SplitError(f"baseline_predictions: train must hold two groups or more, got {count}.")
    folds = min(INNER_FOLDS, count)
    if kind == "scale":
        model, grid = learn.linear_model.Ridge(), {"model__alpha": _PENALTIES}
        inner = learn.model_selection.GroupKFold(folds)
        scoring: Any = "neg_mean_squared_error"
    else:
        model = learn.linear_model.LogisticRegression(max_iter=5000)
        grid = {"model__C": 1 / _PENALTIES}
        rarest = min(
            len({str(g) for g, t in zip(groups, target, strict=True) if t == c})
            for c in np.unique(target)
        )
        if rarest < 2:
            raise SplitError(
                "baseline_predictions: each class must occur in two training groups or more, got "
                f"{rarest}."
            )
        inner = learn.model_selection.StratifiedGroupKFold(min(folds, rarest))
        scoring = _log_likelihood
    steps = [("scale", learn.preprocessing.StandardScaler()), ("model", model)]
    pipeline = learn.pipeline.Pipeline(steps)
    return learn.model_selection.GridSearchCV(
        pipeline, grid, cv=inner, scoring=scoring, error_score="raise"
    )


def _log_likelihood(model: Any, features: Any, target: Any) -> float:
    # a fold may lack a class, so the labels come from the model
    from sklearn.metrics import log_loss

    return -float(log_loss(target, model.predict_proba(features), labels=model.classes_))


def import_sklearn() -> Any:
    """Import scikit-learn with the parts that the baselines use, or raise MissingPartError."""
    try:
        import sklearn
        import sklearn.linear_model
        import sklearn.model_selection
        import sklearn.pipeline
        import sklearn.preprocessing
    except ImportError as error:
        raise MissingPartError(
            "baseline_predictions: scikit-learn is not installed. "
            "pip install 'fastbrain-fmri[demo]'"
        ) from error
    return sklearn

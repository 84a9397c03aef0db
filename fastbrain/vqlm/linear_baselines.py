"""Linear baselines of the test people, fitted on the training people of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..evaluation.controls.clinical_baselines import ClinicalCohort, baseline_predictions
from ..evaluation.controls.support_vectors import support_vector_predictions

Target = Mapping[str, float] | Mapping[str, str]


def linear_predictions(
    features: Mapping[str, npt.NDArray[np.float64]],
    split: Mapping[str, Sequence[str]],
    target: Target,
    family: Mapping[str, str],
    *,
    support_vectors: bool = False,
) -> dict[str, dict[str, Any]]:
    """Predict by mean, ridge (or logistic) and support vector regression.

    Parameters
    ----------
    features : mapping of str to ndarray, (F,)
        Features of each training and test person.
    split : mapping of str to sequence of str
        People of the parts "train" and "test".
    target : mapping of str to float or str
    family : mapping of str to str
        Inner folds keep a family together.
    support_vectors : bool
        Also predict by support vector regression, for a number.

    Returns
    -------
    dict of str to dict
        By method ("mean", "connectivity ridge", "connectivity SVR") and test person.
    """

    def cohort(people: Sequence[str]) -> ClinicalCohort:
        # a column of zeros as the confound, because there is none
        return ClinicalCohort(
            np.stack([features[p] for p in people]),
            np.array([target[p] for p in people]),
            np.zeros((len(people), 1)),
            [family[p] for p in people],
        )

    kind: Literal["scale", "label"] = (
        "label" if isinstance(next(iter(target.values())), str) else "scale"
    )
    train, test = cohort(split["train"]), cohort(split["test"])
    found = baseline_predictions(train, test, kind=kind)
    if support_vectors and kind == "scale":
        found["connectivity SVR"] = support_vector_predictions(train, test)
    return {
        name: dict(zip(split["test"], values.tolist(), strict=True))
        for name, values in found.items()
        if name != "confounds"
    }

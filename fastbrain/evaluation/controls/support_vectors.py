"""Linear support vector regression of a scale on connectivity, the baseline of BrainLM."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import SplitError
from .clinical_baselines import INNER_FOLDS, ClinicalCohort, import_sklearn

_COSTS = np.logspace(-5, 1, 7)  # of standardised features and target


@checked
def support_vector_predictions(
    train: ClinicalCohort, test: ClinicalCohort
) -> npt.NDArray[np.float64]:
    """Predict a scale of `test` by linear support vector regression, fitted on `train` only.

    Features and target are standardised; the cost is chosen by inner folds of whole training
    groups, with an insensitive zone of a tenth of the target's standard deviation.

    Parameters
    ----------
    train, test : ClinicalCohort
        No group is in both.

    Returns
    -------
    ndarray, (N,) float64

    Raises
    ------
    MissingPartError
        scikit-learn is not installed.
    SplitError
        A group is on both sides, or train has a single group.
    """
    learn = import_sklearn()
    import sklearn.compose
    import sklearn.svm

    names = [str(g) for g in train.groups]
    shared = set(names) & {str(g) for g in test.groups}
    if shared or len(set(names)) < 2:
        raise SplitError(
            "support_vector_predictions: train must hold two groups or more and none of test, got "
            f"{len(set(names))} groups, shared {sorted(shared)[:5]}."
        )
    scaler = learn.preprocessing.StandardScaler
    steps = [("scale", scaler()), ("model", sklearn.svm.SVR(kernel="linear", epsilon=0.1))]
    model = sklearn.compose.TransformedTargetRegressor(
        learn.pipeline.Pipeline(steps), transformer=scaler()
    )
    search = learn.model_selection.GridSearchCV(
        model,
        {"regressor__model__C": _COSTS},
        cv=learn.model_selection.GroupKFold(min(INNER_FOLDS, len(set(names)))),
        scoring="neg_mean_absolute_error",
        error_score="raise",
    )
    search.fit(train.connectivity, train.target.astype(np.float64), groups=names)
    return np.asarray(search.predict(test.connectivity), dtype=np.float64)

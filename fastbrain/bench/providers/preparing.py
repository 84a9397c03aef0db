"""Preparation of data by other packages: PCA of scikit-learn, masking of nilearn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..registry import Provider, Setting, Way
from .needs import missing


def _sklearn_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    return missing("sklearn", "scikit-learn")


def _sklearn(solver: str) -> Callable[[Mapping[str, Any], Setting], Way]:
    """PCA with one of the solvers that are exact."""

    def build(inputs: Mapping[str, Any], setting: Setting) -> Way:
        from sklearn.decomposition import PCA

        x, count = inputs["x"], inputs["components"]
        return lambda: PCA(count, svd_solver=solver, random_state=0).fit(x).components_

    return build


def _nilearn_runs(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    return missing("nilearn", "nilearn")


def _nilearn(inputs: Mapping[str, Any], setting: Setting) -> Way:
    """A fitted masker that reads the file and changes nothing."""
    from nilearn.maskers import NiftiMasker

    masker = NiftiMasker(mask_img=str(inputs["mask"]), standardize=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that there is nothing to fit
        masker.fit()
    z, y, x = inputs["shape"]
    inside = np.asarray(masker.mask_img_.dataobj).astype(bool)
    # its columns have z fastest, ours x
    order = np.arange(z * y * x).reshape(z, y, x).T[inside]
    bold = str(inputs["bold"])
    return lambda: (masker.transform(bold), order)


PROVIDERS = (
    Provider("sklearn_full", "pca", _sklearn("full"), _sklearn_runs),
    Provider("sklearn_arpack", "pca", _sklearn("arpack"), _sklearn_runs),
    Provider("nilearn", "read_run", _nilearn, _nilearn_runs),
)

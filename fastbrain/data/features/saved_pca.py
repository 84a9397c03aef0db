"""Principal components as arrays and JSON values, for saved models that contain them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._rules import count, flag, list_of, number, record_of, text
from ...errors import CheckpointError
from ..leaks.fit_scope import FitScope
from .pca import PCA

ARRAYS = ("components", "variance", "mean", "inv_std")
_SCOPE = {"name": text, "fitted_on": list_of(text), "unlabelled": flag}
RULES = {"total_variance": number, "constant": count, "scope": record_of(_SCOPE)}
"""Rules of the entries that :func:`pca_record` returns."""

Arrays = dict[str, npt.NDArray[Any]]


def pca_arrays(pca: PCA, region: npt.NDArray[np.bool_] | None) -> Arrays:
    """Arrays of components and of the voxels that they were fitted on, by name."""
    arrays: Arrays = {name: getattr(pca, name) for name in ARRAYS}
    return arrays if region is None else {**arrays, "region": np.asarray(region, dtype=np.uint8)}


def pca_record(pca: PCA) -> dict[str, Any]:
    """Return everything else, as JSON values."""
    return {
        "total_variance": pca.total_variance,
        "constant": pca.constant,
        "scope": asdict(pca.scope),
    }


def read_pca(
    record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], *, where: str, function: str
) -> tuple[PCA, npt.NDArray[np.bool_] | None]:
    """Rebuild components and region.

    Parameters
    ----------
    record : mapping
        From :func:`pca_record`, checked by :data:`RULES`.
    arrays : mapping
        From :func:`pca_arrays`.
    where : str
        Folder, for messages.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    CheckpointError
        An array is missing, is not one of components, or disagrees in size.
    """
    values = dict(arrays)
    inside = values.pop("region", None)
    if sorted(values) != sorted(ARRAYS):
        raise CheckpointError(
            f"{function}: features of {where} must be {sorted(ARRAYS)}, got {sorted(values)}."
        )
    k, voxels = (*values["components"].shape, 0, 0)[:2]
    if [values[n].shape for n in ARRAYS] != [(k, voxels), (k,), (voxels,), (voxels,)]:
        raise CheckpointError(f"{function}: the features of {where} must agree in their sizes.")
    scope = record["scope"]
    pca = PCA(
        **values,
        total_variance=float(record["total_variance"]),
        constant=int(record["constant"]),
        scope=FitScope(scope["name"], tuple(scope["fitted_on"]), scope["unlabelled"]),
    )
    return pca, None if inside is None else inside.astype(bool)

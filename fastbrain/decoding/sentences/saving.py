"""Save the fitted parts of a sentence decoder: read-out, evidence, settings, names of models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._io import folder_atomic, read_json, sha256, write_atomic, write_json
from ...data.features.saved_pca import pca_arrays, pca_record
from ...data.features.window_components import WindowComponents
from ...errors import CheckpointError
from .card import card_text
from .evidence import SentenceEvidence
from .readout import SentenceReadout

LAYOUT = 2  # 1 had digests of a sample of the weights
KIND = "sentence-decoder"
READOUT, FEATURES = "readout.safetensors", "features.safetensors"
FILES = (READOUT, FEATURES, "config.json")


def place_of(name: str | None) -> str | None:
    """Absolute path of a folder or file; another name as it is."""
    return str(Path(name).resolve()) if name and Path(name).exists() else name


def fit_digest(folder: Path) -> str:
    """Compute a short hash of a saved decoder; the places of its models do not matter.

    Parameters
    ----------
    folder : Path
        Written by :func:`save_parts`.
    """
    manifest, config = read_json(folder / "manifest.json"), read_json(folder / "config.json")
    models = {name: config[name]["digest"] for name in ("llm", "encoder")}
    parts = [manifest[READOUT], manifest[FEATURES], {**config, **models}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def readout_arrays(
    readout: SentenceReadout, evidence: SentenceEvidence
) -> dict[str, npt.NDArray[np.float64]]:
    """Arrays of a read-out and of its evidence, by name."""
    return {
        "x_mean": readout.ridge.x_mean,
        "y_mean": readout.ridge.y_mean,
        "weights": readout.ridge.weights,
        "centre": readout.centre,
        "vectors": readout.vectors,
        "out_of_fold": readout.out_of_fold,
        "written": evidence.written,
    }


def save_parts(
    folder: Path,
    *,
    readout: SentenceReadout,
    evidence: SentenceEvidence,
    components: WindowComponents | None,
    facts: Mapping[str, Any],
    replace: bool,
) -> Path:
    """Write the folder of a decoder atomically; `facts` are further entries of ``config.json``.

    Raises
    ------
    OutputExistsError
        The folder exists and `replace` is false.
    CheckpointError
        A fitted value is not finite.
    """
    from safetensors.numpy import save

    arrays = readout_arrays(readout, evidence)
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise CheckpointError(
            f"SentenceDecoder.save: fitted values must be finite, got NaN or infinity in {broken}. "
            "Fit it again on finite features."
        )
    features: dict[str, Any] | None = None
    loadings: dict[str, npt.NDArray[Any]] = {}
    if components is not None:
        features = {**pca_record(components.pca), "whiten": components.whiten}
        loadings = pca_arrays(components.pca, components.region)
    config = {
        "layout": LAYOUT,
        "kind": KIND,
        **facts,
        "readout": {
            "texts": list(readout.texts),
            "groups": list(readout.groups),
            "penalty": readout.ridge.penalty,
            "r2": readout.ridge.r2,
            "two_way": readout.two_way,
        },
        "evidence": {
            "weight": evidence.weight,
            "gain": evidence.gain,
            "effective": evidence.effective,
            "texts": list(evidence.texts),
        },
        "features": features,
    }
    with folder_atomic(
        folder, replace=replace, function="SentenceDecoder.save", offered=True
    ) as temporary:
        for name, values in ((READOUT, arrays), (FEATURES, loadings)):
            rows = {key: np.ascontiguousarray(value) for key, value in values.items()}
            write_atomic(temporary / name, save(rows))
        write_json(temporary / "config.json", config)
        write_json(temporary / "manifest.json", {n: sha256(temporary / n) for n in FILES})
        # README.md is for people and may be edited, so it is not in the manifest
        card = card_text(
            config,
            encoder=place_of(readout.encoder.name) or "",
            features=len(readout.ridge.x_mean),
            layers=len(readout.centre),
            written=len(evidence.written),
        )
        write_atomic(temporary / "README.md", card)
    return folder

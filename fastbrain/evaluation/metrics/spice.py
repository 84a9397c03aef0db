"""SPICE of captions, by the Java program that pycocoevalcap installs (Anderson et al. 2016)."""

from __future__ import annotations

import importlib
import importlib.util
import math
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import MissingPartError
from ._external import foreign
from .references import check_references

_PACKAGE = "pycocoevalcap"
_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def spice_absent() -> str:
    """Reason why SPICE cannot be computed on this machine; empty if it can."""
    if shutil.which("java") is None:
        return "Java is not installed"
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return f"{_PACKAGE} is not installed"
    # the package downloads them without asking; nothing here does
    folder = Path(found.submodule_search_locations[0]) / "spice" / "lib"
    missing = [name for name in _MODELS if not (folder / name).is_file()]
    return f"{folder} has no {' and no '.join(missing)}" if missing else ""


@checked
def spice(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[npt.NDArray[np.float64], str]:
    """Compute SPICE of every text with its references.

    Parameters
    ----------
    hypotheses : sequence of str, (N,)
    references : sequence of sequence of str, (N,)
        One or more references each.

    Returns
    -------
    scores : ndarray, (N,) float64
        F of the scene graphs; 0 where the program finds no graph.
    signature : str

    Raises
    ------
    MissingPartError
        Java, the package pycocoevalcap or its CoreNLP models are not there.
    InputError
        Sizes differ, a sample has no reference, or the program fails.
    """
    check_references("spice", hypotheses, references)
    if reason := spice_absent():
        raise MissingPartError(
            f"spice: Java, {_PACKAGE} and its CoreNLP models must be installed, got: {reason}. "
            f"Install them (python -m {_PACKAGE}.spice.get_stanford_models downloads the models)."
        )
    # the program sorts by name
    names = [f"{i:09d}" for i in range(len(hypotheses))]
    with foreign("spice", _PACKAGE, "Is Java able to run it (8 GB of memory)?"):
        program = importlib.import_module(f"{_PACKAGE}.spice.spice").Spice()
        _, rows = program.compute_score(
            {name: list(each) for name, each in zip(names, references, strict=True)},
            {name: [text] for name, text in zip(names, hypotheses, strict=True)},
        )
        scores = [float(row["All"]["f"]) for row in rows]
    known = np.array([0.0 if math.isnan(score) else score for score in scores])
    return known, f"SPICE|{_PACKAGE} {version(_PACKAGE)}"

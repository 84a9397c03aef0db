"""Connectivity as words: principal components of the correlations between regions, in levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._arguments import checked
from .._io import folder_atomic, write_atomic, write_json
from .._rules import list_of, text
from .._runfiles import read_record
from ..errors import CheckpointError, InputError
from ..nn.saved_folder import check_seal, load_tensors, seal

Vector = npt.NDArray[np.floating[Any]]
_DESCRIBED = {
    "fitted_on": list_of(text),
    "regions": list_of(text),
    "source": lambda value: value in ("series", "connectomes"),
}
_TENSORS = ("center", "spread", "axes", "scale")


@dataclass(frozen=True)
class ConnectivityWords:
    """Standardised principal components of connectivity; :class:`NumberLines` makes them words.

    Parameters
    ----------
    center, spread : Tensor, (F,) float64
        Mean and standard deviation of each connection over the people of the fit.
    axes : Tensor, (K, F) float64
        Components of the standardised connections.
    scale : Tensor, (K,) float64
        Standard deviation of each component over the same people.
    fitted_on : tuple of str
        People of the fit.
    regions : tuple of str
        Regions of the connections.
    source : {"series", "connectomes"}
        Whether the connectivity is that of series decoded from codes, or of connectomes.
    """

    center: Tensor
    spread: Tensor
    axes: Tensor
    scale: Tensor
    fitted_on: tuple[str, ...]
    regions: tuple[str, ...]
    source: str

    @classmethod
    def fit(
        cls,
        features: Mapping[str, Vector],
        *,
        components: int,
        regions: Sequence[str] = (),
        source: str = "series",
    ) -> ConnectivityWords:
        """Fit on the training people.

        Parameters
        ----------
        features : mapping of str to ndarray, (F,)
            Connectivity of the training people, from :func:`connectivity_features`.
        components : int
            Largest number of components; there are fewer with fewer connections or people.
        regions : sequence of str
        source : {"series", "connectomes"}

        Raises
        ------
        InputError
            Fewer than three people, or no connection differs between people.
        """
        if len(features) < 3 or components < 1:
            raise InputError(
                "ConnectivityWords: features must be of three people or more and components 1 or "
                f"more, got {len(features)} and {components}."
            )
        values = torch.from_numpy(np.stack([np.asarray(v, np.float64) for v in features.values()]))
        center, spread = values.mean(dim=0), values.std(dim=0, correction=0)
        spread = spread.where(spread > 0, 1.0)
        standard = (values - center) / spread
        _, size, axes = torch.linalg.svd(standard, full_matrices=False)
        # the mean was subtracted, so that the last component of all people is rounding error
        there = int((size > 1e-9 * size[0]).sum()) if bool(size[0] > 0) else 0
        kept = min(components, there, len(values) - 1)
        if not kept:
            raise InputError(
                "ConnectivityWords: features must differ between people, got none that does."
            )
        axes = axes[:kept]
        # the sign of an axis is arbitrary: its largest weight is positive
        largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
        axes = (axes * largest.sign()).contiguous()
        scale = (standard @ axes.T).std(dim=0, correction=0)
        return cls(center, spread, axes, scale, tuple(features), tuple(regions), source)

    def values(self, features: Vector) -> Tensor:
        """Components (K,) float64 of the connectivity (F,) of a person.

        Raises
        ------
        InputError
            The number of connections differs from that of the fit, or one is not finite.
        """
        found = torch.from_numpy(np.asarray(features, np.float64))
        if found.shape != self.center.shape or not bool(found.isfinite().all()):
            raise InputError(
                f"ConnectivityWords: features must be ({len(self.center)},) and finite, got "
                f"{tuple(found.shape)}."
            )
        return self.axes @ ((found - self.center) / self.spread) / self.scale


@checked
def save_words(words: ConnectivityWords, folder: str | Path, *, replace: bool = False) -> Path:
    """Write fitted components atomically, so that the folder is either complete or absent.

    Raises
    ------
    OutputExistsError
        The folder exists and `replace` is false.
    """
    from safetensors.torch import save

    with folder_atomic(folder, replace=replace, function="save_words", offered=True) as temporary:
        tensors = {name: getattr(words, name).contiguous() for name in _TENSORS}
        write_atomic(temporary / "words.safetensors", save(tensors))
        described = {
            "fitted_on": list(words.fitted_on),
            "regions": list(words.regions),
            "source": words.source,
        }
        write_json(temporary / "config.json", described)
        seal(temporary)
    return Path(folder)


@checked
def load_words(folder: str | Path) -> ConnectivityWords:
    """Load what :func:`save_words` wrote.

    Raises
    ------
    CheckpointError
        A file is missing or damaged.
    """
    root = Path(folder)
    check_seal(root)
    described = read_record(root / "config.json", _DESCRIBED, function="load_words")
    tensors = load_tensors(root / "words.safetensors", function="load_words")
    if sorted(tensors) != sorted(_TENSORS):
        raise CheckpointError(f"load_words: {root} must hold {_TENSORS}, got {sorted(tensors)}.")
    return ConnectivityWords(
        **tensors,
        fitted_on=tuple(described["fitted_on"]),
        regions=tuple(described["regions"]),
        source=described["source"],
    )

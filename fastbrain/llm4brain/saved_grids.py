"""Grids in the folder of a saved model: written, read, and chosen for recordings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._rules import exact_record_of, list_of, text
from ..errors import CheckpointError, InputError
from ..grid import TokenGrid
from ..layout import TokenLayout
from .card_record import ModelCard
from .grid_encoders import GridLayout
from .grid_models import AnyModel, GridModels
from .model import LLM4Brain

# rule of the entry `grids` of config.json, which models of one grid do not have
GRIDS = list_of(exact_record_of({"name": text, "fingerprint": text}), least=1)
_SAME_TR_S = 1e-3


def described_grids(model: AnyModel) -> dict[str, Any]:
    """Describe the grids of a model for its ``config.json``."""
    first = model.first
    found: dict[str, Any] = {
        "kernel": list(first.grid.kernel),
        "stride": list(first.grid.stride),
        "grid_fingerprint": first.grid.fingerprint(),
    }
    if isinstance(model, GridModels):
        found["grids"] = [
            {"name": name, "fingerprint": model.part(name).grid.fingerprint()}
            for name in model.names
        ]
    return found


def grid_tensors(model: AnyModel) -> dict[str, Tensor]:
    """Collect mask, kept patches and centres of each grid; names of several begin with theirs."""
    if isinstance(model, LLM4Brain):
        return _tensors(model)
    return {
        f"{name}/{key}": value
        for name in model.names
        for key, value in _tensors(model.part(name)).items()
    }


def _tensors(model: LLM4Brain) -> dict[str, Tensor]:
    grid = {
        "mask": torch.from_numpy(model.grid.mask.astype(np.uint8)),
        "kept": torch.tensor(model.grid.kept),
        "centers_mm": model.centers_mm.cpu().contiguous(),
    }
    if isinstance(own := model.grid, TokenLayout):
        grid |= {"offsets": torch.tensor(own.offsets), "about": torch.tensor(own.about())}
    return grid


def read_layouts(
    root: Path, sites: Mapping[str, Tensor], described: Mapping[str, Any]
) -> dict[str, GridLayout]:
    """Build the grids of a saved model, with statistics that its weights replace.

    Returns
    -------
    dict of str to GridLayout
        By name; ``""`` for a model of one grid.

    Raises
    ------
    CheckpointError
        A grid is missing, or does not match its fingerprint.
    """
    single = [{"name": "", "fingerprint": described["grid_fingerprint"]}]
    found = {}
    for entry in described.get("grids", single):
        before = f"{entry['name']}/" if entry["name"] else ""
        own = {k.removeprefix(before): v for k, v in sites.items() if k.startswith(before)}
        grid = _grid_of(root, own, described)
        if grid.fingerprint() != entry["fingerprint"]:
            raise CheckpointError(
                f"from_pretrained: the grid of {root} must match its fingerprint."
            )
        inside = np.array(grid.patch_mask, dtype=np.float32)
        centers = own["centers_mm"].numpy()
        found[entry["name"]] = GridLayout(grid, centers, np.zeros_like(inside), inside)
    return found


def _grid_of(root: Path, sites: dict[str, Tensor], described: Mapping[str, Any]) -> TokenGrid:
    names = {"mask", "kept", "centers_mm"}
    if sites.keys() == {*names, "offsets", "about"}:
        offsets, centers, about = (sites[n].numpy() for n in ("offsets", "centers_mm", "about"))
        return TokenLayout.from_arrays(offsets, centers, about)
    if sites.keys() != names:
        raise CheckpointError(f"from_pretrained: {root} must hold its grid, got {sorted(sites)}.")
    return TokenGrid(
        sites["mask"].numpy().astype(bool),
        tuple(described["kernel"]),
        tuple(described["stride"]),
        sites["kept"].numpy(),
    )


def choose_part(
    layouts: Mapping[str, GridLayout], grid: TokenGrid | None, part: str | None, *, root: Path
) -> str:
    """Return the name of the grid to open, by its name or by the grid of the recordings.

    Raises
    ------
    InputError
        A model of several grids is opened without saying which, or `part` is unknown.
    CheckpointError
        The recordings are on another grid.
    """
    names = [part] if part is not None else list(layouts)
    if part is not None and part not in layouts:
        known = ", ".join(name for name in layouts if name) or "left out for a model of one grid"
        raise InputError(f"from_pretrained: part must be {known}, got {part!r}.")
    if grid is not None:
        found = grid.fingerprint()
        fitting = [name for name in names if layouts[name].grid.fingerprint() == found]
        if not fitting:
            ours, theirs = (
                f"{g.n_tokens} patches of {g.patch_words} in {g.shape} ({g.fingerprint()})"
                for g in (layouts[names[0]].grid, grid)
            )
            more = f" (and {len(names) - 1} others)" if len(names) > 1 else ""
            raise CheckpointError(
                f"from_pretrained: grid must be the one of training, {ours}{more}, got {theirs}. "
                "Prepare recordings in its space, with its mask."
            )
        names = fitting
    if len(names) > 1:
        raise InputError(
            f"from_pretrained: part must say which grid of {root} is opened, {', '.join(names)}, "
            "got none. fastbrain.llm4brain.load_grid_models opens all."
        )
    return names[0]


def check_tr(card: ModelCard, tr: float | None) -> None:
    """Raise :class:`CheckpointError` if recordings have another repetition time than training."""
    if tr is not None and abs(tr - card.tr) > _SAME_TR_S:
        raise CheckpointError(
            f"from_pretrained: tr must be the {card.tr:g} s of training, got {tr:g} s. Resample "
            "recordings in time."
        )

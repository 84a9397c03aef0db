"""A collection of two voxel grids in memory, and models for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastbrain import TokenGrid
from fastbrain.data import StoreCollection, WindowLoader
from fastbrain.data.readers.events import Trial
from fastbrain.llm4brain import GridLayout, GridModels, LLM4BrainConfig

WORDS = ("ball", "box", "wall", "tree")
GRIDS = {
    "a": TokenGrid.from_mask(np.ones((4, 6, 4), dtype=bool), (2, 2, 2)),
    "b": TokenGrid.from_mask(np.ones((4, 4, 6), dtype=bool)[:, :2], (2, 2, 2)),
}
SCALE = 0.01


def layout(grid: TokenGrid, *, seed: int = 0, size_mm: float = 3.0) -> GridLayout:
    """Layout of a grid with statistics that depend on the seed."""
    rng = np.random.default_rng(seed)
    shape = (grid.n_tokens, grid.patch_voxels)
    mean = rng.normal(size=shape).astype(np.float32)
    inv_std = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return GridLayout(grid, grid.centers(np.diag([size_mm] * 3 + [1.0])), mean, inv_std)


def grid_models(config: LLM4BrainConfig, llm: Any, tokenizer: Any) -> GridModels:
    """Models of the two grids."""
    layouts = {name: layout(grid, seed=i) for i, (name, grid) in enumerate(GRIDS.items())}
    return GridModels(config, layouts, llm=llm, text_tokenizer=tokenizer, scale=SCALE)


def collection(n: int, name: str = "t", grids: Any = None) -> StoreCollection:
    """A collection of `n` windows, of which two of three are on the first grid."""
    grids = GRIDS if grids is None else grids
    generator = np.random.default_rng(n)
    stores: dict[str, Any] = {g: SimpleNamespace(trials=[], windows={}) for g in grids}
    names = list(grids)
    for i in range(n):
        where = names[min(1, i % 3 // 2)]
        grid = grids[where]
        trial = Trial(
            f"{name}-{i}", f"run-{i % 2}", ("one", "two", "three")[i % 3], "", "1", 0.0, 1.0, 0, 2,
            "", f"it is a {WORDS[i % 4]}" + " now" * (i % 3),
        )  # fmt: skip
        shape = (2, grid.n_tokens, grid.patch_voxels)
        stores[where].trials.append(trial)
        stores[where].windows[trial.trial_id] = generator.integers(-300, 300, shape, np.int16)
    for store in stores.values():
        store.window = store.windows.__getitem__
    return StoreCollection(Path("nowhere"), stores, None, False)  # type: ignore[arg-type]


def loader(n: int, name: str = "t", *, batch_size: int = 4, shuffle: bool = True) -> WindowLoader:
    """Loader of the windows of :func:`collection`."""
    ids = [f"{name}-{i}" for i in range(n)]
    return WindowLoader(collection(n, name), ids, batch_size=batch_size, shuffle=shuffle)

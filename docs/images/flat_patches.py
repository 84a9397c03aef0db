"""Draw the square patches of fsaverage5: python docs/images/flat_patches.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import nilearn.datasets
import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from fastbrain.data.readers.locations import Locations, Structure
from fastbrain.data.store.flat_maps import FlatCortex
from fastbrain.data.store.token_layouts import LayoutSpec, build_layout

PATCH = 64
FOLDER = Path(nilearn.datasets.__file__).parent / "data" / "fsaverage5"
SIDES = {"CORTEX_LEFT": "left", "CORTEX_RIGHT": "right"}

flat = FlatCortex.read({n: FOLDER / f"flat_{s}.gii.gz" for n, s in SIDES.items()}, PATCH)
count = len(flat.places["CORTEX_LEFT"])
structures = tuple(Structure(name, np.arange(count), count) for name in SIDES)
layout = build_layout(Locations(structures), LayoutSpec("flat", PATCH))
places = np.concatenate([flat.places[name] for name in SIDES])
sizes = layout.patch_mask.sum(axis=1)
print(f"side {flat.side} mm, {layout.n_tokens} tokens, {int((~layout.mask).sum())} left out")
print(f"vertices in a token: {sizes.min()} to {sizes.max()}, median {np.median(sizes):g}")
print(f"fewer than 8 vertices: {(sizes < 8).sum()} tokens")

figure, axis = plt.subplots(figsize=(9, 4.2))
squares = []
for name in SIDES:
    xy = flat.places[name]
    corner = np.nanmin(xy, axis=0)
    cells = np.unique(np.floor((xy[np.isfinite(xy[:, 0])] - corner) / flat.side), axis=0)
    squares += [Rectangle(corner + cell * flat.side, flat.side, flat.side) for cell in cells]
shades = PatchCollection(squares, cmap="YlGnBu", edgecolor="white", linewidth=0.7)
shades.set_array(sizes)
axis.add_collection(shades)
axis.plot(*places.T, ",", color="black", alpha=0.35)
axis.set_aspect("equal")
axis.set_axis_off()
figure.colorbar(shades, ax=axis, shrink=0.8, label="vertices in the token")
figure.savefig(Path(__file__).with_suffix(".png"), dpi=130, bbox_inches="tight")

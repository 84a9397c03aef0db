"""Page on the quality of every run of a store: table, brain mask, carpet plots and traces.

Everything is read from the store, not from the images: rows were measured during preparation, and
carpets show the cleaned signal.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..._arguments import checked
from ..._io import write_atomic
from ..._progress import track
from ...data import VoxelStore
from ...data.store.image_space import ImageSpace
from ...data.store.quality import COLUMNS, read_traces
from .html import render
from .print_style import BLUE, VERMILION, check_matplotlib

_BYTES = 3_500_000  # of all pictures: the page stays below 5 MB
_ROWS = 1000  # of the table
_VOXELS, _COLUMNS = 120, 400  # of a carpet
_RANGE_SD = 2.5  # black to white is minus to plus this
_WIDTH, _HEIGHT = 800.0, 60.0  # of a trace, in units of the drawing
_SLICES = 7

_FORMATS = {"coverage": "{:.1%}", "censored": "{:.1%}", "design_lost": "{:.0%}"}
_TITLES = {
    "tsnr": "tSNR",
    "fd_mean": "FD mean (mm)",
    "fd_max": "FD max (mm)",
    "dvars_mean": "DVARS mean (%)",
    "dvars_max": "DVARS max (%)",
    "dummy_scans": "dummy scans",
    "never_finite": "never finite",
    "design_lost": "design lost",
}


@checked
def write_quality_page(store: VoxelStore, path: str | Path) -> Path:
    """Write the quality of all runs of a store as one HTML file without external parts.

    Parameters
    ----------
    store : VoxelStore
    path : str or Path
        At most 5 MB: with many runs, those with the most motion are drawn and all are in the table.

    Returns
    -------
    Path

    Raises
    ------
    MissingPartError
        matplotlib is not installed.
    StoreError
        A run of the store is damaged.
    """
    check_matplotlib()
    facts = store.info.runs
    ranked = sorted(facts, key=lambda name: _rank(facts[name]["quality"]), reverse=True)
    pictures, size = [], 0
    for name in track(ranked, "drawing runs"):
        picture = _picture(store, name)
        size += len(picture["carpet"]) + sum(len(trace["path"]) for trace in picture["traces"])
        if size > _BYTES:
            break
        pictures.append(picture)
    html = render(
        "quality.html.j2",
        title=f"Quality of {store.path.name}",
        lead=f"{len(facts)} runs of {len({t.subject for t in store.trials})} people, "
        f"{sum(f['n_volumes'] for f in facts.values())} volumes every {store.tr:g} s",
        facts=_space(store) | store.filter.describe() | _denoising(store),
        notes=store.filter.warnings(),
        excluded=store.info.excluded,
        measured=[_row(name, own) for name, own in store.info.excluded_quality.items()][:_ROWS],
        columns=[(_TITLES.get(name, name), meaning) for name, meaning in COLUMNS.items()],
        rows=[_row(name, facts[name]) for name in ranked[:_ROWS]],
        left_out=max(0, len(ranked) - _ROWS),
        mask=_mask(store) if store.grid.geometry == "volume" else "",
        runs=pictures,
        not_drawn=len(ranked) - len(pictures),
        width=_WIDTH,
        height=_HEIGHT,
        version=__version__,
    )
    return write_atomic(path, html)


def _space(store: VoxelStore) -> dict[str, str]:
    return {"space of the images": str(ImageSpace(store.info.space, store.info.resolution))}


def _denoising(store: VoxelStore) -> dict[str, str]:
    strategy = store.denoising
    return {"confounds": "none are regressed out"} if strategy is None else strategy.describe()


def _rank(quality: Mapping[str, Any]) -> tuple[float, float]:
    """Order runs by motion, then by the largest change of their signal."""
    return (quality.get("fd_mean") or 0.0, quality.get("dvars_max") or 0.0)


def _row(name: str, facts: Mapping[str, Any]) -> list[str]:
    return [name, str(facts["n_volumes"]), *(_cell(k, facts["quality"].get(k)) for k in COLUMNS)]


def _cell(name: str, value: float | None) -> str:
    return "–" if value is None else _FORMATS.get(name, "{:.4g}").format(value)


def _picture(store: VoxelStore, name: str) -> dict[str, Any]:
    run, facts = store.run(name), store.info.runs[name]
    traces = read_traces(store.path, name)
    censored = facts["censored"]
    step = _WIDTH / len(run)
    shown = [
        _trace(title, values, color)
        for title, values, color in (
            ("FD, mm", traces.get("fd"), BLUE),
            ("DVARS before cleaning, %", traces.get("dvars"), VERMILION),
        )
        if values is not None
    ]
    return {
        "name": name,
        "facts": ", ".join(
            f"{_TITLES.get(k, k)} {_cell(k, facts['quality'].get(k))}"
            for k in ("tsnr", "fd_mean", "dvars_mean", "spikes", "censored", "design_lost")
        ),
        "notes": facts.get("notes") or (),
        "carpet": _png(carpet(store, name)),
        "traces": shown,
        "censored": [(f"{t * step:.2f}", f"{max(step, 1.5):.2f}") for t in censored],
        "volumes": len(run),
    }


def carpet(store: VoxelStore, run_id: str) -> npt.NDArray[np.uint8]:
    """Draw the cleaned signal of a run: voxels from top to bottom, time from left to right.

    Parameters
    ----------
    store : VoxelStore
    run_id : str

    Returns
    -------
    ndarray, (at most 120, at most 400) uint8
        Grey levels; every voxel divided by its standard deviation in the run, from -2.5 (black) to
        2.5 (white).
    """
    run = store.run(run_id)
    places = np.argwhere(store.inv_std > 0)
    places = places[:: -(-len(places) // _VOXELS)]
    series = run[:, places[:, 0], places[:, 1]].astype(np.float32)  # (T, V)
    factor = -(-len(series) // _COLUMNS)
    series = series - series.mean(axis=0)
    spread = series.std(axis=0)
    series /= np.where(spread > 0, spread, 1)
    whole = len(series) // factor * factor
    series = series[:whole].reshape(-1, factor, len(places)).mean(axis=1)
    level = (series.T / _RANGE_SD + 1) * 127.5
    return np.clip(np.rint(level), 0, 255).astype(np.uint8)


def _trace(title: str, values: Sequence[float], color: str) -> dict[str, Any]:
    """Draw values as the path of an SVG; peaks of long runs stay."""
    series = np.asarray(values, dtype=np.float64)
    top = float(series.max()) if len(series) and series.max() > 0 else 1.0
    x = (np.arange(len(series)) + 0.5) * (_WIDTH / max(1, len(series)))
    y = _HEIGHT * (1 - series / (1.05 * top))
    # the first volume has no volume before it
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[1:], y[1:], strict=True))
    return {"title": title, "path": points, "color": color, "top": f"{top:.3g}"}


def _mask(store: VoxelStore) -> str:
    """Draw the mean image inside the mask in evenly spaced slices, with the edge of the mask."""
    grid = store.grid
    volume = grid.unpack(store.mean_image[None])[0]  # (Z, Y, X)
    used = np.flatnonzero(grid.mask.any(axis=(1, 2)))
    # the outermost slices hold a few voxels
    places = np.linspace(0.1, 0.9, _SLICES) * (len(used) - 1)
    chosen = used[np.unique(places.round().astype(int))]
    top = float(np.quantile(volume[grid.mask], 0.98)) or 1.0
    tiles = []
    for z in chosen:
        level = np.clip(volume[z] / top, 0, 1) * 200
        inside = grid.mask[z]
        pixels = np.stack([np.where(inside, level, 255)] * 3, axis=-1)
        pixels[_edge(inside)] = tuple(int(VERMILION[i : i + 2], 16) for i in (1, 3, 5))
        tiles.append(np.pad(pixels[::-1], ((1, 1), (1, 1), (0, 0)), constant_values=255))
    return _png(np.concatenate(tiles, axis=1).astype(np.uint8))


def _edge(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Find the voxels of a slice of the mask that have a neighbour outside."""
    padded = np.pad(inside, 1)
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(inside & ~around)


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()

"""Decode windows of a store, with margins to no brain, to other windows and to noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._progress import say
from ..data import VoxelStore, window_faults
from ..data.readers.events import Trial
from ..data.readers.runs_table import run_id_of
from ..decoding.brain_decoder import BrainDecoder
from ..errors import InputError, some
from ..evaluation.controls.confidence import distant_windows, exceedance_p, text_margins
from ..evaluation.controls.noise import noise_store
from .decoded_windows import DecodedWindow
from .open_decoder import RunDecoder

_PARTNERS = 8


def read_windows(
    reader: RunDecoder, store: VoxelStore, ids: tuple[str, ...], *, confidence: bool, seed: int
) -> tuple[DecodedWindow, ...]:
    """Decode windows of a store.

    Parameters
    ----------
    reader : RunDecoder
    store : VoxelStore
    ids : tuple of str, (N,)
        Trials; one that is far from all training windows is held.
    confidence : bool
        Whether to compute margins to no brain and to other windows, with those of noise.
    seed : int
        Of the noise and of the choice of other windows.

    Returns
    -------
    tuple of DecodedWindow, (N,)

    Raises
    ------
    InputError
        There is no window.
    """
    if not ids:
        raise InputError("decode: there must be a window to decode, got none.")
    _name_trained(reader, [store.by_id[i] for i in ids])
    held = window_faults(store, ids, reader.like)
    read = tuple(i for i in ids if i not in held)
    found: dict[str, dict[str, Any]] = {i: {"text": "", "held": held[i]} for i in held}
    if held:
        say(f"{len(held)} of {len(ids)} windows are held: they are far from all training windows")
    if read:
        decoder, brains = reader.bind(store, read)
        prefixes = decoder.read(brains)
        texts = decoder.write(prefixes)
        found |= {i: {"text": text} for i, text in zip(read, texts, strict=True)}
        if confidence:
            columns = _confidence(reader, decoder, store, read, prefixes, texts, seed)
            for row, i in enumerate(read):
                found[i] |= {name: _number(column[row]) for name, column in columns.items()}
    trials = [store.by_id[i] for i in ids]
    return tuple(
        DecodedWindow(t.trial_id, t.run_id, t.subject, t.onset, prompt=prompt, **found[t.trial_id])
        for t, prompt in zip(trials, reader.before(trials), strict=True)
    )


def _name_trained(reader: RunDecoder, trials: Sequence[Trial]) -> None:
    """Say which runs of the training part have the names of runs that are decoded."""
    names = {t.run_id for t in trials}
    # a scan has the name of its file
    names |= {run_id_of(t.subject, t.session, t.run) for t in trials if t.subject}
    trained = sorted(names & set(reader.manifest.get("fit_runs", ())))
    if trained:
        say(
            f"{some(trained)}: recordings with these names were trained on. If they are the same, "
            "the texts show what the model remembers, not what it decodes."
        )


def _confidence(
    reader: RunDecoder,
    decoder: BrainDecoder,
    store: VoxelStore,
    ids: tuple[str, ...],
    prefixes: Any,
    texts: list[str],
    seed: int,
) -> dict[str, Any]:
    trials = [store.by_id[i] for i in ids]
    guard = max(t.frames for t in trials)
    places = [(t.run_id, t.start) for t in trials]
    partners = distant_windows(places, guard, most=_PARTNERS, seed=seed)
    own = text_margins(decoder, prefixes, texts, partners)
    other, brains = reader.bind(noise_store(store, "phase-randomised brain", seed=seed), ids)
    blank = other.read(brains)
    noise = text_margins(other, blank, other.write(blank), partners)
    columns: dict[str, Any] = {}
    for name in ("no_brain", "permuted"):
        values, null = getattr(own, name), getattr(noise, name)
        known = null[~np.isnan(null)]
        columns[f"margin_{name}"] = values
        columns[f"chance_{name}"] = [known.mean() if len(known) else math.nan] * len(ids)
        columns[f"p_{name}"] = exceedance_p(values, null)
    return columns


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)

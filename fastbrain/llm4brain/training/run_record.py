"""What a finished run records: model card, manifest, and a folder a grid for several grids.

::

    manifest.json   store and its fingerprint, LLM, split, audit, trials that may be scored
    preparation/    grid, filter and statistics of the store, to decode new scans

A run on a collection has both for each grid, in ``grids/NAME``: such a folder is a run of one grid,
which opens the model of the run above it.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..._io import write_json
from ...data.store.collection import StoreCollection
from ...data.store.manifest import GRIDS
from ...data.store.members import AnyStore, members_of
from ...data.store.preparation import save_preparation
from ...data.store.store import VoxelStore
from ...lm.kept_llm import LLMRecord
from ...training.card_facts import card_facts
from ...training.run_folder import place_of
from ..card_record import ModelCard
from .presets import STAGE_NAMES
from .run_stages import RunState


def card_of_run(run: RunState, language: LLMRecord, weights: dict[str, Any]) -> ModelCard:
    """Write the card of the model of a run."""
    store = run.store
    own: dict[str, Any] = {"units": store.units, "window": asdict(store.window_spec)}
    affine = None
    if isinstance(store, StoreCollection):
        own["grids"] = {
            name: {
                "store": each.fingerprint(),
                "affine": _rows(each),
                "limits": each.info.limits,
            }
            for name, each in store.stores.items()
        }
    else:
        own["limits"], affine = store.info.limits, tuple(map(tuple, _rows(store)))
    return ModelCard(
        llm=language.name,
        tr=store.tr,
        fingerprint=store.fingerprint(),
        affine=affine,
        prompt=run.prompts[0],
        preprocessing=own,
        split=store.split.to_json(),
        training={
            "adaptation": "transductive" if run.adapt else "inductive",
            "stages": [name for name in STAGE_NAMES if getattr(run.config, name) is not None],
            "audit": run.audit.to_json(),
            "weights": weights,
            **card_facts(store, language),
        },
        language=language,
        llm_bits=run.config.llm_bits,
        llm_device_map=run.config.llm_device_map,
    )


def _rows(store: VoxelStore) -> list[list[float]]:
    return [[float(v) for v in row] for row in store.affine]


def write_records(
    store: AnyStore, out: Path, facts: dict[str, Any], *, replaced: bool = False
) -> None:
    """Write the preparation and the manifest of a run, for each of its grids.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
    out : Path
        Run folder.
    facts : dict
        Entries of the manifest besides those of the store.
    replaced : bool
        Whether earlier files are replaced.
    """
    runs = [run for each in members_of(store).values() for run in each.fit_runs]
    facts = facts | place_of(store, out) | {"split": store.split.to_json(), "fit_runs": runs}
    if isinstance(store, VoxelStore):
        save_preparation(store, out, replaced=replaced)
        write_json(out / "manifest.json", facts)
        return
    for name, member in store.stores.items():
        folder = out / GRIDS / name
        folder.mkdir(parents=True, exist_ok=True)
        save_preparation(member, folder, replaced=replaced)
        write_json(folder / "manifest.json", _of_grid(facts, name, member, folder, out))
    grids = {name: member.fingerprint() for name, member in store.stores.items()}
    write_json(out / "manifest.json", facts | {"grids": grids})


def _of_grid(
    facts: dict[str, Any], name: str, member: VoxelStore, folder: Path, out: Path
) -> dict[str, Any]:
    """Manifest of the run of one grid: the part of each list that concerns its trials."""
    own = {
        **facts,
        **place_of(member, folder),
        "split": member.split.to_json(),
        "fit_runs": list(member.fit_runs),
        "joint": {"run": os.path.relpath(out, folder), "grid": name},
    }
    for key in ("scored_trials", "adapt_trials"):
        own[key] = [trial for trial in facts[key] if trial in member.by_id]
    readouts = facts.get("readout", {}).get("grids", {})
    if name in readouts:
        own["readout"] = readouts[name]
    return own

"""Scans that an encoder was pretrained on, recorded beside its weights and looked for in a store.

A volume is known by its image file and its place in it, and by a digest of its prepared voxels: it
is found again in a store that was prepared by other settings, or from a copy of the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from ..._arguments import checked
from ..._digests import read_sealed, write_sealed
from ..._io import read_json, sha256
from ..._rules import count, list_of, record_of, text
from ...errors import CheckpointError, FastbrainError, StoreError
from ..splits.split import PARTS
from ..store.members import AnyStore, members_of
from ..store.store import VoxelStore
from .fit_scope import FitScope

SCANS = "scans.json"
_GLANCE = 1024  # values in the middle of a volume; they differ between all volumes but blank ones
_RUN = record_of(
    {"subject": text, "image": text, "volumes": list_of(count), "digests": list_of(text)}
)
_known = record_of({"train": list_of(_RUN), "val": list_of(_RUN)})
Scans = dict[str, list[dict[str, Any]]]


@checked
def scans_of(store: VoxelStore) -> Scans:
    """List the volumes that the training and validation windows of a store cover.

    Parameters
    ----------
    store : VoxelStore
        Each run with such windows is compared with its digest on first use.

    Returns
    -------
    dict of str to list of dict
        For ``"train"`` and ``"val"``, one entry for each run: `subject`, `image` (digest of its
        file, "" if the store has no record of it), `volumes` and their `digests`.
    """
    return {part: _runs(store, getattr(store.split, part)) for part in ("train", "val")}


@checked
def write_scans(folder: str | Path, scans: Scans) -> Path:
    """Write the scans of weights into the folder of their training."""
    return write_sealed(Path(folder) / SCANS, scans)


@checked
def scans_beside(weights: str | Path) -> Scans | None:
    """Read the scans behind a file of encoder weights; None if they are not recorded.

    They are recorded beside the weights of ``fastbrain train scmbm``, and are not for published
    weights or for a file that was copied without the folder.

    Raises
    ------
    CheckpointError
        The record is damaged or was edited.
    """
    path = Path(weights)
    try:
        manifest = read_json(path.with_name("manifest.json"))
        files = manifest["files"]
        same = files[path.name] == sha256(path) and SCANS in files
    except (FastbrainError, KeyError, TypeError):
        return None
    if not same:
        return None
    found = read_sealed(path.with_name(SCANS), error=CheckpointError)
    if not _known(found):
        raise CheckpointError(
            f"scans_beside: {path.with_name(SCANS)} must list the scans of pretraining, got a "
            "damaged file. Pretrain the encoder again."
        )
    return found


@checked
def pretraining_scope(store: AnyStore, scans: Scans) -> FitScope:
    """Find the trials of a store that an encoder was pretrained on.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
    scans : dict
        Result of :func:`scans_beside`.

    Returns
    -------
    FitScope
        Trials with a volume of pretraining; of the test part, those with a volume that chose the
        best epoch too, and, if the split holds people out, all of a person in pretraining.
    """
    trained, chosen = (_keys(scans[part]) for part in ("train", "val"))
    people = {run["subject"] for part in ("train", "val") for run in scans[part]} - {""}
    found = []
    for part, member in product(PARTS, members_of(store).values()):
        ids = member.split.part(part)
        known = trained | chosen if part == "test" else trained
        shared = {name for run in _runs(member, ids, each=True) if _keys([run]) & known
                  for name in run["trials"]}  # fmt: skip
        if part == "test" and "subject" in member.split.keys:
            shared |= {name for name in ids if member.by_id[name].subject in people}
        found += [name for name in ids if name in shared]
    return FitScope("pretrained encoder", tuple(found), unlabelled=True)


def joined_scans(several: Iterable[Scans]) -> Scans:
    """Join the scans of several stores, or of weights that training went on from."""
    listed = list(several)
    return {part: [run for scans in listed for run in scans[part]] for part in ("train", "val")}


def _runs(store: VoxelStore, ids: Sequence[str], *, each: bool = False) -> list[dict[str, Any]]:
    """Describe the volumes of windows, by run, or by window for `each`, with the trials."""
    groups: dict[str, list[str]] = {}
    for name in ids:
        groups.setdefault(name if each else store.by_id[name].run_id, []).append(name)
    images = {run_id: _image(store, run_id) for run_id in {store.by_id[i].run_id for i in ids}}
    found = []
    for names in groups.values():
        first = store.by_id[names[0]]
        windows = [store.by_id[name] for name in names]
        volumes = sorted({v for t in windows for v in range(t.start, t.start + t.frames)})
        entry: dict[str, Any] = {
            "subject": first.subject,
            "image": images[first.run_id],
            "volumes": volumes,
            "digests": [_glance(store, first.run_id, v) for v in volumes],
        }
        found.append(entry | ({"trials": names} if each else {}))
    return found


def _keys(runs: Sequence[dict[str, Any]]) -> set[str]:
    places = {f"{r['image']}/{v}" for r in runs if r["image"] for v in r["volumes"]}
    return places | {digest for r in runs for digest in r["digests"] if digest}


def _image(store: VoxelStore, run_id: str) -> str:
    """Digest of the image of a run; "" without the record of its preparation."""
    record = store.path / "runs" / f"{run_id}.json"
    if not record.is_file():
        return ""
    files = read_sealed(record, error=StoreError).get("inputs") or {}
    told = [
        f"{file.get('bytes')}{file.get('sha256', '')}{file.get('head', '')}{file.get('tail', '')}"
        for _, file in sorted(files.items())
    ]
    return hashlib.sha256(" ".join(told).encode()).hexdigest()[:32] if told else ""


def _glance(store: VoxelStore, run_id: str, volume: int) -> str:
    flat = store.volumes(run_id)[volume].reshape(-1)
    middle = max(0, (flat.size - _GLANCE) // 2)
    seen = flat[middle : middle + _GLANCE]
    return hashlib.blake2b(seen.tobytes(), digest_size=16).hexdigest() if seen.any() else ""

"""Look for leaks between the parts of a split: shared scans, windows, stimuli, texts, fits.

fastbrain audit store

fastbrain audit store --split other.json --json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._io import read_json
from .._progress import say
from .._run_kind import run_kind
from ..data import Audit, Split, VoxelStore, audit_store
from ..data.leaks.checks import KINDS
from ..errors import FastbrainError, InputError


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain audit``."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Voxel store from `fastbrain prepare`."""
    split: Path | None = None
    """JSON file with another split of its trials; default: the split of the store."""
    prompts: tuple[str, ...] = ()
    """Prompts that every sample will get."""
    allow_leak: str | None = None
    """Reason why the leaks are acceptable; the exit code is then 0."""
    verify: bool = False
    """Compare every byte of the store with its digests first."""
    json: bool = False
    """Print the audit as JSON."""


def run(config: Config) -> int:
    """Print the audit; return 1 if it found leaks and no reason is given."""
    _refuse_run_of_people(config.store)
    store = VoxelStore.open(config.store, verify=config.verify)
    split = None if config.split is None else Split.from_json(read_json(config.split))
    audit = audit_store(store, split=split, prompts=config.prompts)
    if config.allow_leak is not None:
        audit = audit.check(allow=config.allow_leak)
    print(json.dumps(audit.to_json(), indent=2) if config.json else audit_table(audit))
    if audit.clean or audit.allowed is not None:
        say("no leak found" if audit.clean else f"leaks allowed: {audit.allowed}")
        return 0
    say(f"training refuses this split. {audit.remedy()}")
    return 1


def _refuse_run_of_people(folder: Path) -> None:
    try:
        kind = run_kind(folder, function="audit")
    except FastbrainError:
        return  # a store, or what VoxelStore.open names
    if kind == "vq-lm":
        raise InputError(
            f"audit: {folder} must be a voxel store, got a run of vq-lm, which has none. Its "
            "training refuses a person or a family in two parts; split.json of the run has the "
            "parts."
        )


def audit_table(audit: Audit) -> str:
    """Format the findings as aligned lines, each followed by its first pairs."""
    sizes = ", ".join(f"{n} {part}" for part, n in audit.sizes.items())
    lines = [f"samples    {sizes}; guard {audit.guard_trs} volumes"]
    if audit.closed_set:
        lines.append(f"closed set {audit.texts} texts, known to training")
    for name, count in audit.fits.items():
        lines.append(f"fitted     {name} on {count} samples")
    rows = [("LEAK", leak) for leak in audit.findings]
    rows += [("declared", leak) for leak in audit.declared]
    for verdict, leak in rows:
        share = f"{leak.affected} of {leak.of}" if leak.of else str(leak.affected)
        lines.append(
            f"{verdict:<10} {KINDS[leak.kind]}: {leak.parts[0]} and {leak.parts[1]}, {share} "
            f"{leak.parts[1]} samples, {leak.pairs} pairs"
        )
        lines += [f"{'':<13}{a} and {b}" + f"  {what}" * bool(what) for a, b, what in leak.examples]
    found = {leak.kind for _, leak in rows}
    for kind, meaning in KINDS.items():
        if kind not in found and (kind != "closed" or audit.closed_set):
            verdict = "not known" if kind in audit.unchecked else "none"
            lines.append(f"{verdict:<10} {meaning}")
    return "\n".join(lines)

"""Download a public data set from OpenNeuro, at the version that fastbrain was checked with.

fastbrain fetch had ds004488 --include "sub-01/**" "derivatives/fmriprep/sub-01/**"

An interrupted download goes on with the same line. Sizes and digests of all files are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._progress import say
from ..data import fetch_dataset


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of ``fastbrain fetch``."""

    dataset: Annotated[str, tyro.conf.Positional]
    """had, bold5000, boldmoments, narratives, lebel, or an accession number: ds004488."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """New folder, or that of an interrupted download."""
    include: tuple[str, ...] = ()
    """Paths below the root, with wildcards; default: all."""
    exclude: tuple[str, ...] = ()
    """Paths to leave out, with wildcards."""
    version: str | None = None
    """Version of the data set; default: the one that fastbrain was checked with."""
    jobs: int = 5
    """Number of downloads at a time."""


def run(config: Config) -> None:
    """Download the files."""
    fetch_dataset(
        config.dataset,
        config.out,
        include=config.include,
        exclude=config.exclude,
        version=config.version,
        jobs=config.jobs,
    )
    say(f"data set in {config.out}; next: fastbrain prepare {config.out} STORE")

"""Download a public data set from OpenNeuro by openneuro-py, at a fixed version."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..._arguments import checked
from ..._io import read_json, write_json
from ..._progress import say
from ...errors import CohortError, ConfigError, FetchError, MissingPartError
from .catalog import public_dataset
from .known import PublicDataset

# versions that the presets and label files were checked with
VERSIONS = {
    "ds004488": "1.0.0",
    "ds001499": "1.3.1",
    "ds005165": "1.0.4",
    "ds002345": "1.1.4",
}
_ACCESSION = re.compile(r"ds\d{6}")
_RECORD = ".fastbrain-fetch.json"


@checked
def fetch_dataset(
    name: str,
    out: str | Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    version: str | None = None,
    jobs: int = 5,
) -> Path:
    """Download a data set, or the part of it that patterns name; goes on where it stopped.

    The sizes of all files and the digests that OpenNeuro states are compared. Files that are
    complete are not downloaded again.

    Parameters
    ----------
    name : str
        "had", "bold5000", "boldmoments", "narratives", "lebel", or an accession number: "ds004488".
    out : str or Path
        Folder; its own record says which data set and version it holds.
    include, exclude : sequence of str
        Paths below the root, with wildcards: ``"sub-01/*"``. Default: all.
    version : str, optional
        Version (snapshot). Default: the one that fastbrain was checked with, where there is one.
    jobs : int
        Number of downloads at a time.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    MissingPartError
        openneuro-py is not installed.
    ConfigError
        The data set is not on OpenNeuro, or no version is known and none was given.
    CohortError
        `out` has another data set or version, or files of no record.
    FetchError
        The download failed.
    """
    accession = _accession(name)
    version = version or VERSIONS.get(accession)
    if version is None:
        raise ConfigError(
            f"fetch_dataset: version must be given for {accession}, of which none was checked. Its "
            f"versions are listed on https://openneuro.org/datasets/{accession}."
        )
    if jobs < 1:
        raise ConfigError(f"fetch_dataset: jobs must be >= 1, got {jobs}.")
    openneuro = _openneuro()
    out = Path(out)
    _claim(out, accession, version)
    say(f"{accession} version {version} to {out}")
    try:
        openneuro.download(
            dataset=accession,
            tag=version,
            target_dir=out,
            include=list(include) or None,
            exclude=list(exclude) or None,
            verify_hash=True,
            verify_size=True,
            max_concurrent_downloads=jobs,
        )
    except Exception as error:
        raise FetchError(
            f"fetch_dataset: {accession} version {version} must be downloadable, got "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}. Run it again: finished "
            "files are kept."
        ) from error
    return out


def _accession(name: str) -> str:
    if _ACCESSION.fullmatch(name):
        return name
    dataset: PublicDataset = public_dataset(name)
    if not _ACCESSION.fullmatch(dataset.accession):
        raise ConfigError(
            f"fetch_dataset: name must be a data set on OpenNeuro, got {name!r}. "
            f"{dataset.how_to_fetch()}."
        )
    return dataset.accession


def _claim(out: Path, accession: str, version: str) -> None:
    """Write the record of a folder, or compare it with the data set that is asked for."""
    wanted = {"accession": accession, "version": version}
    record = out / _RECORD
    if record.is_file():
        found = read_json(record)
        if found != wanted:
            raise CohortError(
                f"fetch_dataset: {out} must hold {accession} version {version}, got {found}. Name "
                "another folder, or remove this one."
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CohortError(
            f"fetch_dataset: {out} must be new or empty, got other files. Name another folder."
        )
    write_json(record, wanted)


def _openneuro() -> Any:
    try:
        import openneuro
    except ImportError as error:
        raise MissingPartError(
            "fetch_dataset: the package openneuro-py must be installed, got none. "
            "pip install 'fastbrain-fmri[fetch]'"
        ) from error
    return openneuro

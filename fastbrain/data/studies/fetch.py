"""Download a public data set from OpenNeuro by openneuro-py, at a fixed version."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..._arguments import checked
from ..._io import read_json, write_json
from ..._lock import hold
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
_RECORD, _LOCK = ".fastbrain-fetch.json", ".fastbrain-fetch.lock"
_ASIDE = ".fastbrain-fetch.description"
_LISTING_S = 300.0
# messages of the client for an unknown version, and for a pattern that fits no file
_ASKED = re.compile(r"does not exist for dataset|Could not find path in the dataset")


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
        Paths below the root: ``"sub-01/**"``, where ``*`` is any text without a slash. A pattern
        without a slash fits names in any folder. Sidecars at the root are always fetched. Default:
        all.
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
        The data set is not on OpenNeuro, no version is known and none was given, or OpenNeuro has
        no such version or no file of a pattern.
    CohortError
        `out` has another data set or version, or files of no record.
    FetchError
        The download failed, or another process downloads to `out`.
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
    download = _client()
    out = Path(out)
    record = _claim(out, accession, version)
    say(f"{accession} version {version} to {out}")
    options: dict[str, Any] = {
        "dataset": accession,
        "tag": version,
        "target_dir": out,
        # a sidecar at the root holds for all people
        "include": [*include, "/*.json"] if include else None,
        "exclude": list(exclude) or None,
        "verify_hash": True,
        "verify_size": True,
        "max_concurrent_downloads": jobs,
        # the list of a data set of 26,000 files takes longer than the 15 s of the client
        "metadata_timeout": _LISTING_S,
    }
    if "source" in inspect.signature(download).parameters:
        options["source"] = "openneuro"  # whatever the environment says
    with hold(out / _LOCK, what="fetch_dataset", error=FetchError):
        try:
            with _description_aside(out):
                _blocking(download, options)
        except Exception as error:
            _unclaim(out, record)
            said = " ".join(str(error).split())[:300]
            if _ASKED.search(said):
                raise ConfigError(
                    f"fetch_dataset: version, include and exclude must be those of {accession}, "
                    f"got version {version} and {list(include)}: {said}"
                ) from error
            raise FetchError(
                f"fetch_dataset: {accession} version {version} must be downloadable, got "
                f"{type(error).__name__}: {said}. Run it again: finished files are kept."
            ) from error
    return out


def _blocking(download: Callable[..., None], options: Mapping[str, Any]) -> None:
    """Call the client; versions before 2026.9 return at once where an event loop is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        download(**options)
        return
    with ThreadPoolExecutor(1) as beside:
        beside.submit(download, **options).result()


@contextmanager
def _description_aside(out: Path) -> Iterator[None]:
    """Hide ``dataset_description.json``, which the client fetches again.

    The client takes the version of a folder from its DOI, which many data sets state for another
    version or not at all, and refuses to go on. The record says what the folder holds.
    """
    path, aside = out / "dataset_description.json", out / _ASIDE
    if path.is_file():
        os.replace(path, aside)
    try:
        yield
    finally:
        if aside.is_file() and not path.exists():
            os.replace(aside, path)
        aside.unlink(missing_ok=True)


def _unclaim(out: Path, record: Path) -> None:
    """Remove the record of a folder into which nothing was downloaded."""
    if {path.name for path in out.iterdir()} <= {record.name, _LOCK}:
        record.unlink(missing_ok=True)


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


def _claim(out: Path, accession: str, version: str) -> Path:
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
        return record
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CohortError(
            f"fetch_dataset: {out} must be new or empty, got other files. Name another folder."
        )
    write_json(record, wanted)
    return record


def _client() -> Callable[..., None]:
    try:
        import openneuro
    except ImportError as error:
        raise MissingPartError(
            "fetch_dataset: the package openneuro-py must be installed, got none. "
            "pip install 'fastbrain-fmri[fetch]'"
        ) from error
    download: Callable[..., None] = openneuro.download
    return download

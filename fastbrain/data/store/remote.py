"""Stores behind a URL: files are copied into a local cache when they are first used.

Any file system of fsspec serves (``s3://``, ``gs://``, ``https://``, ``ssh://``, ``memory://``).
The folder of the cache is named by URL and manifest, so that a store that was prepared again is
another one. Every file is compared with the digest of the manifest while it arrives, and gets its
name only then.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..._digests import read_sealed, remembered_sha256, write_sealed
from ..._io import cache_folder, write_atomic
from ...errors import FastbrainError, MissingPartError, StoreError
from .manifest import MANIFEST, SMALL_FILES, Manifest

ORIGIN = "origin.json"
# pathlib turns the two slashes of a URL into one; a drive letter is no scheme
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(//?)(?!/)")
_BLOCK = 1 << 22
_MANIFEST_CAP = 64 << 20


@dataclass(frozen=True)
class RemoteStore:
    """A store on another machine and its files that are here.

    Parameters
    ----------
    url : str
    root : Path
        Folder of the cache.
    """

    url: str
    root: Path

    @classmethod
    def open(cls, url: str) -> RemoteStore:
        """Fetch the manifest and the small files of a store.

        Raises
        ------
        StoreError
            There is no finished store, it cannot be read, or a file does not match its digest.
        MissingPartError
            The package that reads such URLs is not installed.
        """
        with _errors(f"{url}/{MANIFEST}"):
            system, base = _file_system(url)
            with system.open(f"{base}/{MANIFEST}", "rb") as file:
                text = file.read(_MANIFEST_CAP)
        name = hashlib.sha256(url.encode() + b"\0" + text).hexdigest()[:32]
        remote = cls(url, cache_folder() / "stores" / name)
        path = remote.root / MANIFEST
        if not path.is_file() or path.read_bytes() != text:
            write_sealed(remote.root / ORIGIN, {"url": url})
            write_atomic(path, text)
        info = Manifest.read(remote.root)
        for small in SMALL_FILES:
            remote.fetch(small, info.files[small])
        return remote

    @classmethod
    def of(cls, root: Path) -> RemoteStore | None:
        """Return the store of which a local folder is the cache; None for any other folder."""
        if not (root / ORIGIN).is_file():
            return None
        return cls(str(read_sealed(root / ORIGIN, error=StoreError)["url"]), root)

    def fetch_runs(self, info: Manifest, runs: Iterable[str]) -> None:
        """Copy the voxels of some runs into the cache; see :meth:`fetch`."""
        for run_id in runs:
            name = f"runs/{run_id}.npy"
            self.fetch(name, info.files[name])

    def fetch(self, name: str, digest: str) -> Path:
        """Copy a file into the cache unless it is there and intact.

        Parameters
        ----------
        name : str
        digest : str
            sha256 that the manifest lists.

        Raises
        ------
        StoreError
            The file cannot be read or does not match; nothing is left of it in the cache.
        """
        path = self.root / name
        if path.is_file() and remembered_sha256(path) == digest:
            return path
        found = hashlib.sha256()
        source = f"{self.url}/{name}"

        def copy(file: IO[bytes]) -> None:
            with _errors(source):
                system, base = _file_system(self.url)
                with system.open(f"{base}/{name}", "rb") as remote:
                    while block := remote.read(_BLOCK):
                        found.update(block)
                        file.write(block)
            if found.hexdigest() != digest:
                raise StoreError(
                    f"VoxelStore: {source} must match its sha256. The file is damaged, was edited, "
                    "or is still being uploaded."
                )

        return write_atomic(path, copy)


def url_of(path: str | Path) -> str | None:
    """Return the URL that a path is meant as; None for a path of this machine."""
    text = os.fspath(path)
    found = _SCHEME.match(text)
    if found is None or (found[2] == "/" and os.path.exists(text)):
        return None
    return f"{found[1]}://{text[found.end() :]}".rstrip("/")


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec

    system, base = fsspec.core.url_to_fs(url)
    return system, base.rstrip("/")


@contextmanager
def _errors(source: str) -> Iterator[None]:
    try:
        yield
    except FastbrainError:
        raise
    except ImportError as error:
        raise MissingPartError(
            f"VoxelStore.open: the package that reads {source} must be installed, got '{error}'. "
            "pip install s3fs for s3://, gcsfs for gs://, adlfs for az://."
        ) from error
    # clients of clouds raise errors of their own packages
    except Exception as error:
        raise StoreError(
            f"VoxelStore.open: {source} must be readable, got {type(error).__name__} '{error}'. "
            "Check the URL and the rights; the name is that of a folder fastbrain prepare wrote."
        ) from error

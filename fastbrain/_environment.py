"""Checks of disk, folders and processes before a long job starts."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from ._io import cache_folder, check_writable
from .errors import ConfigError, DiskError, FastbrainError, InputError


def check_environment(
    out: str | Path, *, needed_bytes: float = 0, cache: bool = False, function: str = "output"
) -> None:
    """Raise if the output of a job could not be written at its end.

    The check leaves no file. It cannot detect a quota below the free space of the file system.

    Parameters
    ----------
    out : str or Path
        Folder or file that will be written; it need not exist yet.
    needed_bytes : float
        Lower bound on the size of the output.
    cache : bool
        Whether the job also needs the cache folder.
    function : str
        Name of the calling function, for the message.

    Raises
    ------
    DiskError
        No file can be created at `out`, a parent of it is a file, the disk has less than
        `needed_bytes` free, or the cache folder is needed and cannot be written.
    InputError
        The name of `out` is not valid UTF-8.
    """
    check_name(out, function=function)
    folder = _existing(Path(out), function)
    check_writable(folder)
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise DiskError(
            f"{function}: the disk of {out} must have {_size(needed_bytes)} free, got "
            f"{_size(free)}. Free space or choose another folder."
        )
    if cache:
        check_cache(function)


def check_file(path: str | Path, *, function: str) -> None:
    """Raise if `path` is a folder, or if no file can be created there.

    Parameters
    ----------
    path : str or Path
    function : str
        Name of the calling function, for the message.

    Raises
    ------
    DiskError, InputError
        As :func:`check_environment`, or `path` is a folder.
    """
    if Path(path).is_dir():
        raise DiskError(
            f"{function}: {path} must be a file to write, got a folder. Remove it, or name "
            "another file."
        )
    check_environment(Path(path).parent, function=function)


# number of processes, as torchrun, mpirun and srun tell each of them
_PROCESSES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


def check_alone(
    function: str, remedy: str = "Start the command without torchrun, mpirun or srun."
) -> None:
    """Raise if a launcher has started more than one process of a command.

    Raises
    ------
    ConfigError
    """
    for name in _PROCESSES:
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) > 1:
            raise ConfigError(f"{function}: one process must run, got {name}={value}. {remedy}")


def is_follower() -> bool:
    """Whether torchrun or ``accelerate launch`` started this process beside a first one."""
    return os.environ.get("RANK", "0") != "0" and _joined()


def check_launch(function: str) -> None:
    """Raise if several processes were started, unless they know of each other.

    Raises
    ------
    ConfigError
    """
    if not _joined():
        check_alone(function, "Start training with torchrun or accelerate launch: docs/scale.md.")


def _joined() -> bool:
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def check_cache(function: str) -> Path:
    """Create the cache folder and check that it is writable.

    Raises
    ------
    DiskError
        The folder cannot be created or written.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder)
    except OSError as error:
        raise DiskError(
            f"{function}: the cache folder {folder} must be writable, got "
            f"'{error.strerror or error}'. Set FASTBRAIN_CACHE to a folder that is."
        ) from error
    return folder


def check_name(
    path: str | Path, *, function: str, error: type[FastbrainError] = InputError
) -> None:
    """Raise if a path is not valid UTF-8: JSON, Parquet and reports cannot store it.

    Parameters
    ----------
    path : str or Path
    function : str
        Name of the calling function, for the message.
    error : type of FastbrainError
        Type of the error raised.
    """
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError as reason:
        raise error(
            f"{function}: the names of files and folders must be valid UTF-8, got {text!a}. "
            "Rename it (convmv does so for whole folders), or reach it through a link with a "
            "plain name."
        ) from reason


def environment() -> list[tuple[str, str]]:
    """Describe the folders of this machine as pairs of name and text, for display."""
    rows = [("names of files", f"{sys.getfilesystemencoding()}, {sys.getfilesystemencodeerrors()}")]
    for name, look in (("working folder", Path.cwd), ("cache folder", _cache)):
        try:
            folder = look()
            check_writable(folder)
            free = _size(shutil.disk_usage(folder).free)
            rows.append((name, f"{folder}, writable, {free} free"))
        except OSError as error:
            rows.append((name, f"cannot be used: {error}"))
    return rows


def _cache() -> Path:
    return _existing(cache_folder(), "doctor")


def _existing(path: Path, function: str) -> Path:
    """Return the nearest existing folder; `path` itself may be a file."""
    for folder in (path, *path.absolute().parents):
        if folder.is_dir():
            return folder
        if folder != path and folder.exists():
            raise DiskError(
                f"{function}: {folder} must be a folder, got a file. Choose another place for "
                f"{path.name}."
            )
    return Path("/")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"

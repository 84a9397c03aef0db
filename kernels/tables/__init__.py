"""Choice among the candidates of a kernel, from a table of the GPU at hand.

A kernel lists its candidates (variant, tile, warps, stages) for a class of shapes. Where
``GPU.json`` in this folder names the fastest one that ``benchmarks/gpu_suite.sh --race`` measured,
that one is launched; otherwise the first of the list, which is the heuristic. A GPU without a
table, and a table that cannot be used, cause one warning.

The environment variable ``FASTBRAIN_KERNEL_TABLES`` names a folder that is read before the one of
the package.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

FORMAT = 1
FOLDER = Path(__file__).parent
_REMEDY = "Candidates are chosen by heuristic; benchmarks/gpu_suite.sh --race measures them."


@dataclass(frozen=True)
class Candidate:
    """One way to run a kernel on a class of shapes.

    Parameters
    ----------
    variant : str
        Which algorithm or kernel it is.
    constants : tuple of (str, int)
        Compile-time constants, ``num_warps`` and ``num_stages``; empty where no Triton kernel runs.
    """

    variant: str
    constants: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, variant: str, **constants: int) -> Candidate:
        """Make one from keywords."""
        return cls(variant, tuple(constants.items()))

    @property
    def tile(self) -> dict[str, int]:
        """The constants as keywords of a launch."""
        return dict(self.constants)

    @property
    def name(self) -> str:
        """Name in tables, such as ``slots-BM128-BN64-w8-s2``."""
        short = {"num_warps": "w", "num_stages": "s"}
        return "-".join(
            [self.variant, *(f"{short.get(name, name)}{value}" for name, value in self.constants)]
        )


@dataclass(frozen=True)
class Question:
    """A choice that a call made: kernel, class of shapes, candidates, and the one it took."""

    kernel: str
    shape: str
    candidates: tuple[Candidate, ...]
    taken: Candidate


Choices = Mapping[str, Mapping[str, str]]
_forced: dict[tuple[str, str | None], str] = {}
_asked: list[list[Question]] = []


def choose(
    kernel: str, shape: str, candidates: Sequence[Candidate], like: torch.Tensor
) -> Candidate:
    """Return the candidate to launch.

    Parameters
    ----------
    kernel : str
        Name of the choice in tables, such as ``vq_lookup``.
    shape : str
        Class of shapes that share a winner, such as ``bfloat16 width 64``.
    candidates : sequence of Candidate
        The first one is taken where nothing was measured.
    like : Tensor
        A tensor on the device of the launch.

    Raises
    ------
    ValueError
        If :func:`forced` names a candidate that is not in the list.
    """
    return choose_on(kernel, shape, candidates, like.device)


def choose_on(
    kernel: str, shape: str, candidates: Sequence[Candidate], device: torch.device
) -> Candidate:
    """Return the candidate for a device, as :func:`choose` does for that of a tensor."""
    taken = candidates[0]
    name = _forced.get((kernel, shape)) or _forced.get((kernel, None))
    if name is not None:
        by_name = {candidate.name: candidate for candidate in candidates}
        if name not in by_name:
            raise ValueError(
                f"choose: the forced candidate of {kernel} must be one of {', '.join(by_name)} "
                f"for {shape}, got {name}. Name one of them."
            )
        taken = by_name[name]
    elif device.type == "cuda":
        taken = _measured(gpu_name(_index(device)), kernel, shape, tuple(candidates)) or taken
    for log in _asked:
        log.append(Question(kernel, shape, tuple(candidates), taken))
    return taken


def measured(kernel: str, shape: str, device: torch.device) -> str | None:
    """Return the name of the candidate that is forced or that the table of a GPU names, or None."""
    name = _forced.get((kernel, shape)) or _forced.get((kernel, None))
    if name is None and device.type == "cuda":
        name = choices_of(gpu_name(_index(device))).get(kernel, {}).get(shape)
    return name


@contextmanager
def forced(kernel: str, name: str, shape: str | None = None) -> Iterator[None]:
    """Make choices of a kernel inside the block take the candidate of this name.

    Those of one class of shapes, or by default of all.
    """
    key = kernel, shape
    before = _forced.get(key)
    _forced[key] = name
    try:
        yield
    finally:
        del _forced[key]
        if before is not None:
            _forced[key] = before


@contextmanager
def asked() -> Iterator[list[Question]]:
    """Collect the choices that are made inside the block."""
    log: list[Question] = []
    _asked.append(log)
    try:
        yield log
    finally:
        _asked.remove(log)


def capability(tensor: torch.Tensor) -> int:
    """Return the compute capability × 10 of a tensor's GPU; 90 for a tensor on no GPU."""
    return _capability(_index(tensor.device)) if tensor.device.type == "cuda" else 90


def multiprocessors(tensor: torch.Tensor) -> int:
    """Return the number of multiprocessors of a tensor's GPU; 132 for a tensor on no GPU."""
    return _multiprocessors(_index(tensor.device)) if tensor.device.type == "cuda" else 132


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


@cache
def _capability(index: int) -> int:
    major, minor = torch.cuda.get_device_capability(index)
    return 10 * major + minor


@cache
def _multiprocessors(index: int) -> int:
    return torch.cuda.get_device_properties(index).multi_processor_count


def shared_memory(capability: int) -> int:
    """Return the bytes of shared memory that one block can have (CUDA programming guide)."""
    if capability in (90, 100, 103, 110):
        return 232_448
    return 166_912 if capability in (80, 87) else 101_376


@cache
def gpu_name(index: int) -> str:
    """Return the name of a GPU as its table has it, such as ``nvidia-h200``."""
    return slug(torch.cuda.get_device_name(index))


def slug(name: str) -> str:
    """Return a name in lower case with hyphens for everything but letters and digits."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def read(path: Path) -> Choices:
    """Read a table: the name of a candidate for each kernel and class of shapes.

    Raises
    ------
    ValueError
        If it is no table of this format.
    """
    try:
        table: Any = json.loads(path.read_text())
    except ValueError as failure:
        raise ValueError(f"read: {path} must be JSON, got {failure}. Write it anew.") from None
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        found = table.get("format") if isinstance(table, dict) else type(table).__name__
        raise ValueError(f"read: {path} must be of format {FORMAT}, got {found}. Write it anew.")
    try:
        return {
            str(kernel): {str(shape): str(entry["candidate"]) for shape, entry in shapes.items()}
            for kernel, shapes in table["choices"].items()
        }
    except (AttributeError, KeyError, TypeError) as failure:
        raise ValueError(
            f"read: {path} must name a candidate for each kernel and class of shapes, "
            f"got {type(failure).__name__}: {failure}. Write it anew."
        ) from None


def path_of(gpu: str) -> Path | None:
    """Return the file of a GPU's table, or None."""
    folders = [Path(os.environ["FASTBRAIN_KERNEL_TABLES"])] if _has_folder() else []
    paths = [folder / f"{gpu}.json" for folder in (*folders, FOLDER)]
    return next((path for path in paths if path.is_file()), None)


def _has_folder() -> bool:
    return bool(os.environ.get("FASTBRAIN_KERNEL_TABLES"))


@cache
def choices_of(gpu: str) -> Choices:
    """Return what the table of a GPU says; nothing, with a warning, where there is none to use."""
    path = path_of(gpu)
    if path is None:
        _tell(f"kernel tables: there is none of {gpu}.")
        return {}
    try:
        return read(path)
    except (OSError, ValueError) as failure:
        _tell(f"kernel tables: {failure}")
        return {}


@cache
def _measured(
    gpu: str, kernel: str, shape: str, candidates: tuple[Candidate, ...]
) -> Candidate | None:
    name = choices_of(gpu).get(kernel, {}).get(shape)
    if name is None:
        return None
    for candidate in candidates:
        if candidate.name == name:
            return candidate
    _tell(f"kernel tables: {gpu} names {name} for {kernel} ({shape}), which is no candidate.")
    return None


def _tell(what: str) -> None:
    warnings.warn(f"{what} {_REMEDY}", RuntimeWarning, stacklevel=4)

"""Errors that this package raises on purpose, and its warnings.

All errors inherit :class:`FastbrainError` and a matching built-in error, so both
``except FastbrainError`` and ``except ValueError`` work. The form of the messages is
``function: argument must <contract>, got <value>. <what to do>.``
"""

from __future__ import annotations

from collections.abc import Sequence


def some(names: Sequence[object], most: int = 5) -> str:
    """Join the first few names and the number of remaining ones, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more


class FastbrainError(Exception):
    """Base class of all errors raised on purpose."""


class InputError(FastbrainError, ValueError):
    """An argument breaks its contract (shape, dtype, device, range)."""


class UnknownSubjectError(FastbrainError, KeyError):
    """A subject is not in the table of subjects of a model."""

    # KeyError shows its argument in quotes
    __str__ = Exception.__str__


class ConfigError(FastbrainError, ValueError):
    """A configuration has an unknown key or an impossible value."""


class VolumeError(FastbrainError, ValueError):
    """An image file is invalid; the message names file, field and value."""


class CohortError(FastbrainError, ValueError):
    """A runs table, BIDS tree or events file is inconsistent or incomplete."""


class SplitError(FastbrainError, ValueError):
    """A split is empty, overlaps itself, or cannot be made from these groups."""


class LeakError(SplitError):
    """The training part contains information about the test part."""


class BackendError(FastbrainError, RuntimeError):
    """The requested backend cannot run these inputs; the reason is in the message."""


class TrainingError(FastbrainError, RuntimeError):
    """Training cannot continue (non-finite loss three times in a row, nothing to train)."""


class StoreError(FastbrainError, OSError):
    """A voxel store is unfinished, damaged or of another layout version."""


class CheckpointError(FastbrainError, OSError):
    """A checkpoint is missing, damaged or belongs to another model."""


class DiskError(FastbrainError, OSError):
    """Writing failed (disk full, read-only folder); no partial file was left."""


class OutputExistsError(FastbrainError, FileExistsError):
    """The output exists, and neither resuming nor replacing was requested."""


class MissingPartError(FastbrainError, ImportError):
    """An optional dependency is not installed; the message names the extra that installs it."""


class FetchError(FastbrainError, OSError):
    """A download failed; what is complete is kept."""


class BrainIgnoredWarning(UserWarning):
    """Written texts hardly depend on the brain; the message says by which measure."""

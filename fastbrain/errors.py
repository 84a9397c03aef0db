"""Every error this package raises on purpose, one line of meaning each.

All inherit :class:`FastbrainError` and the built-in a caller would expect, so both
``except FastbrainError`` and ``except ValueError`` work. Messages read
``function: argument must <contract>, got <value>. <what to do>.``
"""


class FastbrainError(Exception):
    """Root of all errors raised on purpose."""


class InputError(FastbrainError, ValueError):
    """An argument breaks its contract (shape, dtype, device, range)."""


class UnknownSubjectError(FastbrainError, KeyError):
    """A model that knows people by name meets one it was not fitted to."""

    # KeyError shows its argument in quotes
    __str__ = Exception.__str__


class ConfigError(FastbrainError, ValueError):
    """A configuration has an unknown key or an impossible value."""


class VolumeError(FastbrainError, ValueError):
    """An image file cannot be trusted; the message names file, field and value."""


class CohortError(FastbrainError, ValueError):
    """A runs table, BIDS tree or events file is inconsistent or incomplete."""


class SplitError(FastbrainError, ValueError):
    """A split is empty, overlaps itself, or cannot be made from these groups."""


class LeakError(SplitError):
    """Something of the test part can be seen from the training part."""


class BackendError(FastbrainError, RuntimeError):
    """The backend that was asked for cannot run these inputs; the reason is in the message."""


class TrainingError(FastbrainError, RuntimeError):
    """Training cannot go on (non-finite loss three times in a row, nothing to train)."""


class StoreError(FastbrainError, OSError):
    """A voxel store is unfinished, damaged or of another layout version."""


class CheckpointError(FastbrainError, OSError):
    """A checkpoint is missing, damaged or belongs to another model."""


class DiskError(FastbrainError, OSError):
    """Writing failed (disk full, read-only folder); nothing half-written was left behind."""


class OutputExistsError(FastbrainError, FileExistsError):
    """The output is already there and neither resuming nor replacing was asked for."""


class MissingPartError(FastbrainError, ImportError):
    """An optional dependency is not installed; the message says which extra brings it."""

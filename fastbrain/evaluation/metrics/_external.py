"""Convert exceptions of external scoring packages to fastbrain errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import FastbrainError, InputError


@contextmanager
def foreign(function: str, library: str, remedy: str) -> Iterator[None]:
    """Convert any exception of an external package in the block to an :class:`InputError`.

    Parameters
    ----------
    function, library, remedy : str
        Parts of the message: the calling function, the package that failed, and what to do.
    """
    try:
        yield
    except FastbrainError:
        raise
    except Exception as error:  # external packages raise many types
        reason = " ".join(str(error).split())[:200] or "no message"
        raise InputError(
            f"{function}: {library} must be able to work with these values, got "
            f"{type(error).__name__}: {reason}. {remedy}"
        ) from error

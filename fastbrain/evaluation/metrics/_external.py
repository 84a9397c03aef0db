"""Errors of the libraries that score, told as errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import FastbrainError, InputError


@contextmanager
def foreign(function: str, library: str, remedy: str) -> Iterator[None]:
    """Turn whatever a library raises inside the block into an :class:`InputError`.

    Parameters
    ----------
    function, library, remedy : str
        What the message names: who called, what failed, and what to do.
    """
    try:
        yield
    except FastbrainError:
        raise
    except Exception as error:  # any of a stranger's errors
        told = " ".join(str(error).split())[:200] or "no message"
        raise InputError(
            f"{function}: {library} must be able to work with these values, got "
            f"{type(error).__name__}: {told}. {remedy}"
        ) from error

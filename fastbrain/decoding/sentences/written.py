"""Written sentences on disk, so that long writing can be interrupted and goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..._digests import read_sealed, write_sealed
from ..._environment import check_environment
from ..._io import as_disk_error
from ...errors import CheckpointError, DiskError


def check_kept(folder: str | Path | None, *, function: str) -> None:
    """Raise unless written sentences can be kept in a folder; call it before the long work.

    Parameters
    ----------
    folder : str or Path or None
        It need not exist yet. None: nothing is kept.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    DiskError
        It is a file, is below one, or cannot be written.
    """
    if folder is None:
        return
    if Path(folder).exists() and not Path(folder).is_dir():
        raise DiskError(
            f"{function}: kept must be a folder, got the file {folder}. Choose another one."
        )
    check_environment(folder, function=function)


class Written:
    """A folder with one sealed file for each written sentence.

    A sentence is found again if the prediction and all that it was written with are the same, the
    version of this package included. Another processor computes other last digits of a prediction,
    so there all sentences are written anew.

    Parameters
    ----------
    folder : str or Path or None
        Made if needed. None: nothing is kept.
    made_with : sequence
        What a sentence depends on, besides the prediction: options, texts, digests of models.
    """

    def __init__(self, folder: str | Path | None, made_with: Sequence[Any]) -> None:
        self._folder = None if folder is None else Path(folder)
        self._head = repr((__version__, *made_with)).encode()
        if self._folder is not None:
            check_kept(self._folder, function="SentenceDecoder")
            with as_disk_error(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, predicted: npt.NDArray[np.float64]) -> str | None:
        """Return the sentence of a prediction (F,), or None.

        Raises
        ------
        CheckpointError
            Its file is damaged.
        """
        path = self._path(predicted)
        if path is None or not path.is_file():
            return None
        text = read_sealed(path, error=CheckpointError).get("text")
        if not isinstance(text, str):
            raise CheckpointError(
                f"SentenceDecoder: {path} must hold a written sentence, got another file. Take a "
                "folder of its own for written sentences."
            )
        return text

    def put(self, predicted: npt.NDArray[np.float64], text: str) -> None:
        """Keep the sentence of a prediction (F,)."""
        path = self._path(predicted)
        if path is not None:
            write_sealed(path, {"text": text})

    def _path(self, predicted: npt.NDArray[np.float64]) -> Path | None:
        if self._folder is None:
            return None
        key = hashlib.sha256(self._head + predicted.astype("<f8").tobytes()).hexdigest()
        return self._folder / f"{key[:32]}.json"

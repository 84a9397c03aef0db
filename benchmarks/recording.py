"""The recorder of the repository's own benchmarks: rows below ``benchmarks/results``."""

from __future__ import annotations

from rows import Book

from fastbrain.bench import machine


class Recorder(machine.Recorder):
    """Prints rows and, where a machine is named, keeps them.

    Parameters
    ----------
    name : str or None
        Folder below ``${OUT:-benchmarks/results}``; None only prints.
    device : str
    """

    def __init__(self, name: str | None, device: str = "cpu") -> None:
        super().__init__(lambda row: book.write(row), device)
        book = Book(name, self.environment["date"][:10])

"""Reader of the footer of a Parquet file, used before pyarrow opens the file.

The footer is a struct in the Thrift compact protocol (github.com/apache/parquet-format). pyarrow
can read it too, but its accessors crash the process on some damaged footers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST_BYTES = 1 << 20  # largest footer; ours take 200 bytes for a column and a million rows
_DEEPEST = 16
# kinds of values; maps and identifiers do not occur in a footer
_TRUE, _FALSE, _BYTE = 1, 2, 3
_VARINTS = (4, 5, 6)  # of 16, 32 and 64 bits
_DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 7, 8, 9, 10, 12


@dataclass(frozen=True)
class Chunk:
    """A column of a row group: codec, number of values, bytes in the file and uncompressed."""

    codec: int
    values: int
    packed: int
    unpacked: int


@dataclass(frozen=True)
class Claims:
    """Rows of a file, and the rows and chunks of each of its row groups."""

    rows: int
    groups: tuple[tuple[int, tuple[Chunk, ...]], ...]


def read_claims(path: Path) -> Claims:
    """Read the footer of a Parquet file.

    Raises
    ------
    ValueError
        The file is not Parquet, or its footer is damaged or longer than 1 MiB.
    OSError
        The file cannot be read.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - 8))
        tail = file.read(8)
        if size < 12 or tail[4:] != b"PAR1":
            raise ValueError("no footer of Parquet")
        (length,) = struct.unpack("<I", tail[:4])
        if length > min(size - 12, _MOST_BYTES):
            raise ValueError(f"a footer of {length} bytes in a file of {size}")
        file.seek(size - 8 - length)
        data = file.read(length)
    try:
        return _claims(_Reader(data).struct())
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a damaged footer ({error})") from error


def _claims(footer: dict[int, Any]) -> Claims:
    # field numbers as in parquet.thrift
    groups = []
    for group in footer[4]:
        chunks = []
        for column in group[1]:
            if 1 in column:
                raise ValueError("a column in another file")
            codec, values, unpacked, packed = (int(column[3][i]) for i in (4, 5, 6, 7))
            chunks.append(Chunk(codec, values, packed=packed, unpacked=unpacked))
        groups.append((int(group[3]), tuple(chunks)))
    return Claims(int(footer[3]), tuple(groups))


class _Reader:
    """Values of the compact protocol: structs as dicts by field number, texts as their length."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > _DEEPEST:
            raise ValueError("a footer nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._signed()
            kind &= 15
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _VARINTS:
            return self._signed()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind in (_TRUE, _FALSE, _BYTE):  # in a list: one byte each
            return self._byte()
        if kind in (_BINARY, _DOUBLE):
            length = self._varint() if kind == _BINARY else 8
            self._at += length
            return length
        raise ValueError(f"a footer with a value of kind {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        # each entry takes at least one byte
        if count > len(self._data) - self._at or depth > _DEEPEST:
            raise ValueError(f"a list of {count} in a footer of {len(self._data)} bytes")
        return [self._value(head & 15, depth + 1) for _ in range(count)]

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number of more than 64 bits")

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

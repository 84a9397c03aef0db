"""The CSA header of Siemens: a table of named texts (described in nibabel's documentation)."""

from __future__ import annotations

import struct

from ...errors import VolumeError

_MOST_ENTRIES, _MOST_ITEMS = 1024, 4096
_CHECKS = (77, 205)


def csa_texts(block: bytes, wanted: tuple[str, ...]) -> dict[str, list[str]]:
    """Read some entries of a CSA header.

    Parameters
    ----------
    block : bytes
        Versions 1 and 2 (which starts with ``SV10``) are read.
    wanted : tuple of str
        Names of entries.

    Returns
    -------
    dict of str to list of str
        Items that are not empty, of the entries that are there.

    Raises
    ------
    VolumeError
        The table is damaged.
    """
    second = block[:4] == b"SV10"
    at = 8 if second else 0
    found: dict[str, list[str]] = {}
    names = {name.encode("ascii"): name for name in wanted}
    try:
        entries, check = struct.unpack_from("<2I", block, at)
        if check not in _CHECKS or not 1 <= entries <= _MOST_ENTRIES:
            raise _damaged()
        at += 8
        shift = 0
        for number in range(entries):
            raw, _, _, _, items, check = struct.unpack_from("<64sI4s3I", block, at)
            if check not in _CHECKS or items > _MOST_ITEMS:
                raise _damaged()
            at += 84
            # version 1 adds the number of items of the first entry to every length
            shift = items if number == 0 and not second else shift
            name = names.get(raw.split(b"\0", 1)[0])
            texts = []
            for _ in range(items):
                lengths = struct.unpack_from("<4I", block, at)
                length = lengths[1] if second else lengths[0] - shift
                at += 16
                if not 0 <= length <= len(block) - at:
                    raise _damaged()
                if name is not None:
                    text = block[at : at + length].split(b"\0", 1)[0].decode("ascii", "replace")
                    texts += [text.strip()] if text.strip() else []
                at += length + -length % 4
            if name is not None:
                found[name] = texts
                if len(found) == len(wanted):
                    break
    except struct.error:
        raise _damaged() from None
    return found


def _damaged() -> VolumeError:
    return VolumeError("the CSA header must be a sound table, got a damaged one. Export again.")

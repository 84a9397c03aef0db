"""Binaries that have been compiled and found without a fault, by the digest of all that made them.

``python tests/contract/verified.py`` compiles every launch and every candidate for every
architecture and writes the digests of the good ones to ``compiled/verified.txt``. A test compiles
what is not in it, as after any change of a kernel, and one in `SAMPLE` of what is.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from types import SimpleNamespace

from compiled import SHARED, facts, faults
from launches import LAUNCHES, candidates, launched

RECORD = Path(__file__).parent / "compiled" / "verified.txt"
SAMPLE = 16


def unknown(launches: list[SimpleNamespace]) -> list[SimpleNamespace]:
    """What has to be compiled: those without a record, and a fixed sample of the others."""
    known = set(RECORD.read_text().split())
    return [x for x in launches if x.digest not in known or int(x.digest, 16) % SAMPLE == 0]


def good(name: str, arch: int) -> list[str]:
    """Digests of the binaries of a call without a fault."""
    every = {x.digest: x for x in [*launched(name, arch), *candidates(name, arch)[0]]}
    with tempfile.TemporaryDirectory() as folder:
        return [
            digest
            for digest, x in every.items()
            if not faults(facts(x, Path(folder)), x, arch, pinned=True)
        ]


def main() -> None:
    """Compile everything and write."""
    found: set[str] = set()
    names, archs = zip(*product(LAUNCHES, SHARED), strict=True)
    with ProcessPoolExecutor() as pool:
        for name, arch, digests in zip(names, archs, pool.map(good, names, archs), strict=True):
            print(name, arch, len(digests), flush=True)
            found.update(digests)
    RECORD.write_text("\n".join(sorted(found)) + "\n")


if __name__ == "__main__":
    main()

"""Renew the record of compiled kernels and the table of ``docs/kernels.md``.

``python tests/contract/compile_record.py [FAMILY ...]`` compiles the launches of ``launches.py``
for all architectures with the Triton that is installed, and writes ``compiled/FAMILY.json``.
Without a family it renews all; with ``table`` it writes only the tables, from what is recorded, and
with ``cuda`` the record of the CUDA sources of the installed extension.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import compile_record_cuda
from compiled import SHARED, facts
from launches import LAUNCHES, launched, on_absent_gpu
from torch.utils._python_dispatch import TorchDispatchMode
from traffic import over_floor

FOLDER = Path(__file__).parent / "compiled"
FAMILIES = sorted({name.partition("-")[0] for name in LAUNCHES})
PAGE = Path(__file__).parents[2] / "docs" / "kernels.md"
CUDA_BEGIN = "<!-- cuda kernels: begin -->\n"
CUDA_END = "<!-- cuda kernels: end -->\n"
BEGIN, END = "<!-- compiled kernels: begin -->\n", "<!-- compiled kernels: end -->\n"
SHOWN_ARCH = 90
# variations of a call that the page leaves out
HIDDEN = re.compile(r"odd|fp32|exact|rank|raw|linear|cosine|-63$")
# operators that start nothing on a GPU
FREE = {"empty", "new_empty", "empty_like", "detach", "_unsafe_view", "_reshape_alias"}


class Started(TorchDispatchMode):
    """Counts the operators of PyTorch that start work on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = op.name().partition("::")[2].partition(".")[0]
        if not op.is_view and name not in FREE:
            self.count[name] += 1
        return op(*args, **(kwargs or {}))


def recorded(family: str) -> dict[str, Any]:
    """The record of a family: version of Triton, and rows of each launch and architecture."""
    return json.loads((FOLDER / f"{family}.json").read_text())


def calls(name: str) -> dict[str, int]:
    """How many Triton kernels and operators of PyTorch one call starts."""
    with on_absent_gpu(SHOWN_ARCH) as found, Started() as started:
        LAUNCHES[name]()
    return {"triton": len(found), "torch": started.count.total()}


def compiled_rows(name: str, arch: int) -> list[dict[str, Any]]:
    """Facts about the binaries of one launch, in the order of the launches."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for launch in launched(name, arch):
            over = over_floor(launch)
            row = facts(launch, Path(folder)).row()
            rows.append(row if over is None else {**row, "over_floor": round(over, 2)})
    return rows


def table() -> str:
    """The table of the documentation, from what is recorded."""
    lines = [
        "| call | kernel | tile | registers | shared memory | tensor cores | instructions "
        "| launches | bytes over floor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    versions = set()
    for family in FAMILIES:
        record = recorded(family)
        versions.add(record["triton"])
        for name, of_arch in record["launches"].items():
            if HIDDEN.search(name):
                continue
            count = record["calls"][name]
            started = " + ".join(str(n) for n in count.values() if n)
            for row in of_arch[str(SHOWN_ARCH)]:
                over = f"{row['over_floor']:.1f}" if "over_floor" in row else ""
                cells = [name, f"`{row['kernel'].removesuffix('_kernel')}`", row["tile"]]
                cells += [str(row["registers"]), f"{row['shared'] / 1024:.0f} KB", row["mma"]]
                cells += [str(row["instructions"]), started, over]
                lines.append(f"| {' | '.join(cells)} |")
                started = ""
    [version] = versions
    head = f"Compiled by Triton {version} for sm_{SHOWN_ARCH}:"
    return "\n".join([head, "", *lines]) + "\n"


def write_table() -> None:
    """Put the tables into the page."""
    text = PAGE.read_text()
    cuda = compile_record_cuda.table(recorded("cuda"))
    for begin, new, end in ((BEGIN, table(), END), (CUDA_BEGIN, cuda, CUDA_END)):
        before, rest = text.split(begin)
        text = f"{before}{begin}{new}{end}{rest.split(end)[1]}"
    PAGE.write_text(text)


def main(families: list[str]) -> None:
    """Compile and write."""
    import triton

    if "cuda" in families or not families:
        record = compile_record_cuda.renew()
        compile_record_cuda.RECORD.write_text(json.dumps(record, indent=1) + "\n")
        print("cuda", len(record["kernels"]), flush=True)
    for family in [f for f in families if f not in ("table", "cuda")] if families else FAMILIES:
        names = [name for name in LAUNCHES if name.startswith(f"{family}-")]
        record = {
            "triton": triton.__version__,
            "calls": {name: calls(name) for name in names},
            "launches": {
                name: {str(arch): compiled_rows(name, arch) for arch in SHARED} for name in names
            },
        }
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{family}.json").write_text(json.dumps(record, indent=1) + "\n")
        print(family, len(names), flush=True)
    write_table()


if __name__ == "__main__":
    main(sys.argv[1:])

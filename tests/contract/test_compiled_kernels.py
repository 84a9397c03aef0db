"""What the compiler makes of the launches of production and of every candidate, for absent GPUs."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton is not installed")

import triton
import verified
from compile_record import BEGIN, END, FAMILIES, PAGE, calls, recorded, table
from compiled import SHARED, facts, faults
from launches import LAUNCHES, candidates, launched
from verified import unknown

# what multiplies nothing, leaves it to PyTorch, or multiplies float32 exactly
NO_TENSOR_CORES = re.compile(
    r"sums|(lora|voxel_tokenizer|neighborhood).*(fp32|exact|products)"
    r"|merge|finalise|update|separation|gather"
)
PINNED = "3.9"  # Triton of constraints.txt
# widths that are no multiple of 16 are stored number by number, and the addresses of a tile do not
# all fit registers: 88 bytes, once after the loop; the last kernel of dance keeps 8 bytes
SPILLS = {
    ("lora-forward-bf16-odd", 100),
    ("lora-forward-bf16-odd-many", 100),
    ("neighborhood-fp16-768-dance", 120),
    ("neighborhood-fp16-768-dance-products", 120),
}
# a fault of the kinds that SPILLS allows; "bytes of shared memory" is not one of them
SPILL = re.compile(r": \d+ bytes (stack frame|spill stores|spill loads|cumulative stack size)$")
# machine code of more or less than the recorded number of instructions, times this, has changed
DRIFT = 1.25
# launches with candidates that are compiled in the short run of the tests
TELLING = (
    "vq-nearest-bf16-64",
    "lora-forward-bf16",
    "voxel_tokenizer-forward-bf16-packed",
    "voxel_tokenizer-forward-bf16-small",
)

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")


def is_pinned() -> bool:
    return triton.__version__.startswith(PINNED)


def drifted(now: dict[str, Any], before: dict[str, Any]) -> str | None:
    """Say by how much the machine code of a kernel differs from what was recorded."""
    ratio = now["instructions"] / before["instructions"]
    if now["kernel"] == before["kernel"] and 1 / DRIFT <= ratio <= DRIFT:
        return None
    return (
        f"{now['kernel']} has {now['instructions']} instructions, recorded are "
        f"{before['instructions']} of {before['kernel']}. If this is meant, run "
        "python tests/contract/compile_record.py"
    )


@pytest.mark.parametrize(
    "arch", [pytest.param(arch, marks=[] if arch == 90 else pytest.mark.slow) for arch in SHARED]
)
@pytest.mark.parametrize("name", LAUNCHES)
def test_what_production_launches_compiles_well(name, arch, tmp_path):
    binaries = launched(name, arch)
    # the first candidate for float32 layers is PyTorch's product
    assert bool(binaries) == (name != "lora-forward-fp32")
    fresh = unknown(binaries) if is_pinned() else binaries
    rows = [facts(launch, tmp_path) for launch in fresh]
    wrong = [
        fault
        for row, launch in zip(rows, fresh, strict=True)
        for fault in faults(row, launch, arch, pinned=is_pinned())
    ]
    if (name, arch) in SPILLS and is_pinned():
        assert wrong
        assert all(map(SPILL.search, wrong))
    else:
        assert wrong == []
    # instructions and registers are those of one compiler: 3.6 keeps up to 64 bytes in memory
    if is_pinned():
        for row in rows:
            assert bool(row.mma) == (NO_TENSOR_CORES.search(name + row.kernel) is None)
        before = recorded(name.partition("-")[0])["launches"][name][str(arch)]
        then = {x.digest: row for x, row in zip(binaries, before, strict=True)}
        pairs = ((row.row(), then[x.digest]) for row, x in zip(rows, fresh, strict=True))
        assert [text for now, old in pairs if (text := drifted(now, old))] == []


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        pytest.param(
            *(name, arch), marks=[] if name in TELLING and arch == 90 else pytest.mark.slow
        )
        for name in LAUNCHES
        for arch in SHARED
        if "sums" not in name
    ],
)
def test_every_candidate_compiles_well(name, arch, tmp_path):
    binaries, offered = candidates(name, arch)
    assert binaries or not offered
    wrong = [
        fault
        for launch in (unknown(binaries) if is_pinned() else binaries)
        for fault in faults(facts(launch, tmp_path), launch, arch, pinned=is_pinned())
    ]
    if (name, arch) in SPILLS and is_pinned():
        wrong = [fault for fault in wrong if not SPILL.search(fault)]
    assert wrong == []


def test_what_is_not_recorded_is_compiled(tmp_path, monkeypatch):
    binaries = launched("lora-decode-bf16", 90)
    monkeypatch.setattr(verified, "RECORD", tmp_path / "verified.txt")
    verified.RECORD.write_text("")
    assert unknown(binaries) == binaries
    verified.RECORD.write_text("\n".join(x.digest for x in binaries))
    assert unknown(binaries) == [x for x in binaries if int(x.digest, 16) % verified.SAMPLE == 0]
    # other constants, another chip: another binary
    assert unknown(launched("lora-decode-bf16", 120)) != []


def test_a_drift_names_both_numbers_and_the_remedy():
    now = {"kernel": "sums", "instructions": 1300}
    assert drifted(now, {**now, "instructions": 1041}) is None
    text = drifted(now, {**now, "instructions": 1000})
    assert "1300 instructions, recorded are 1000" in text
    assert "compile_record.py" in text
    assert drifted({**now, "instructions": 700}, {**now, "instructions": 1000})
    assert drifted({**now, "kernel": "other"}, now)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_launch_is_recorded_for_every_architecture(family):
    names = {name for name in LAUNCHES if name.startswith(f"{family}-")}
    launches = recorded(family)["launches"]
    assert set(launches) == names
    assert all(list(rows) == [str(arch) for arch in SHARED] for rows in launches.values())


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_call_starts_no_more_than_is_recorded(name):
    before = recorded(name.partition("-")[0])["calls"][name]
    now = calls(name)
    assert all(now[kind] <= before[kind] for kind in before), (now, before)


def test_the_page_has_the_table_of_what_is_recorded():
    # python tests/contract/compile_record.py table
    assert PAGE.read_text().split(BEGIN)[1].split(END)[0] == table()

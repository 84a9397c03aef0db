"""The compiled extension: what it needs, and what it says about the machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from fastbrain import _native

ALLOWED = re.compile(r"(libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s|ld-linux[\w-]*)\.so")


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is not installed")
def test_needs_system_libraries_only():
    listing = subprocess.run(
        ["readelf", "-d", _native.__file__], capture_output=True, text=True, check=True
    ).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", listing)
    assert needed
    assert [name for name in needed if not ALLOWED.match(name)] == []


def test_imports_without_torch():
    code = "import sys, fastbrain._native; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_devices_are_a_list_or_a_reason():
    devices = _native.cuda_devices()
    if isinstance(devices, str):
        assert devices
    else:
        assert all({"name", "capability", "memory_bytes"} <= set(row) for row in devices)


SOURCE = {
    "volumes": 1,
    "is_int16": True,
    "packed": False,
    "mean": 0,
    "mean_packed": False,
    "inv_std": 0,
    "inv_std_packed": False,
    "bases": 1,
    "bits": 1,
    "sizes": (1, 1, 8, 1, 1, 8),
    "scale": 1.0,
}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"sizes": (1, 1, 8)}, "sizes must be"),
        ({"sizes": (1, 1, 8, 0, 1, 8)}, "sizes must be positive"),
        ({"sizes": (-1, 1, 8, 1, 1, 8)}, "sizes must be positive"),
        ({"sizes": (1, 1, 65, 1, 1, 65)}, "width must be at most 64"),
        ({"volumes": 0}, "volumes must not be null"),
        ({"bases": 0}, "bases and bits must not be null"),
    ],
)
def test_refuses_impossible_sources(bad, message):
    with pytest.raises(ValueError, match=message):
        _native.VoxelSource(**(SOURCE | bad))


@pytest.mark.parametrize(("features", "threads"), [(-1, 1), (1, 0), (1, 5000)])
def test_refuses_impossible_counts(features, threads):
    source = _native.VoxelSource(**SOURCE)
    with pytest.raises(ValueError, match="must"):
        _native.voxel_tokenizer_forward(
            source, weight=1, bias=0, features=features, out=1, threads=threads
        )

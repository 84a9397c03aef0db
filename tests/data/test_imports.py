"""The package is cheap to import and keeps torch to the loader."""

from __future__ import annotations

import subprocess
import sys

import fastbrain.data

HEAVY = ("torch", "nilearn", "scipy", "pyarrow", "nibabel", "matplotlib", "transformers")


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_package_brings_nothing():
    assert loaded_after("import fastbrain.data") == set()


def test_torch_comes_with_the_loader_alone():
    names = [n for n in fastbrain.data.__all__ if n not in ("WindowLoader", "Batch")]
    assert "torch" not in loaded_after(f"from fastbrain.data import {', '.join(names)}")
    assert "torch" in loaded_after("from fastbrain.data import WindowLoader")


def test_every_public_name_exists():
    for name in fastbrain.data.__all__:
        assert getattr(fastbrain.data, name).__doc__
    assert dir(fastbrain.data) == sorted(fastbrain.data.__all__)

"""Assemble a repository of the Hugging Face Hub from the kernels.

``python kernels/hub/assemble.py FOLDER`` writes a project of ``kernel-builder``: ``build.toml``, a
package below ``torch-ext``, workloads below ``benchmarks``, and the variant that it would build of
it, since nothing is compiled: ``build/torch-cuda``, which ``kernels.get_local_kernel`` loads.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

from fastbrain._io import folder_atomic, write_json

HERE = Path(__file__).parent
NAME, VERSION = "fastbrain-kernels", 1
PACKAGE = NAME.replace("-", "_")


def assemble(folder: Path, backend: str = "cuda") -> None:
    """Write the repository.

    Parameters
    ----------
    folder : Path
        Must not exist.
    backend : str
        ``cuda``, or ``cpu`` to try the variant in Triton's interpreter.

    Raises
    ------
    OutputExistsError
        The folder exists.
    """
    with folder_atomic(folder, function="assemble") as temporary:
        _write(temporary, backend)


def _write(folder: Path, backend: str) -> None:
    package = folder / "torch-ext" / PACKAGE
    fill(package)
    for name in ("build.toml", "flake.nix", "CARD.md"):
        shutil.copy(HERE / name, folder / name)
    shutil.copy(HERE / "CARD.md", folder / "README.md")
    (folder / "benchmarks").mkdir()
    shutil.copy(HERE / "benchmark.py", folder / "benchmarks" / "benchmark.py")
    variant = folder / "build" / f"torch-{backend}"
    shutil.copytree(package, variant)
    metadata = {
        "name": NAME,
        "id": f"{PACKAGE}_{backend}_{digest(package)}",
        "version": VERSION,
        "license": "MIT",
        "python-depends": [],
        "backend": {"type": backend},
    }
    write_json(variant / "metadata.json", metadata)


def fill(package: Path) -> None:
    """Write the Python package: all kernels, and the tables of measured GPUs."""
    package.mkdir(parents=True)
    for path in sorted(HERE.parent.glob("*.py")):
        shutil.copy(path, package / path.name)
    shutil.copy(HERE / "package.py", package / "__init__.py")
    (package / "tables").mkdir()
    for path in [*(HERE.parent / "tables").glob("*.json"), HERE.parent / "tables/__init__.py"]:
        shutil.copy(path, package / "tables" / path.name)


def digest(package: Path) -> str:
    """Seven hexadecimal digits that depend on all sources."""
    total = hashlib.sha256()
    for path in sorted(path for path in package.rglob("*") if path.is_file()):
        total.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:7]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    assemble(parser.parse_args().folder)

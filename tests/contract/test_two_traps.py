"""Two mistakes that are easy to make here and hard to find later."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[2] / "kernels"


def test_kernels_is_not_a_package():
    """Hugging Face has a package called ``kernels`` and transformers probes for it.

    With an ``__init__.py`` our folder would be found instead, from the repository's root and in
    every editable install, and transformers would fail or import our kernels a second time. A
    folder without one is a namespace, which a real package of that name wins over.
    """
    assert KERNELS.is_dir()
    assert not (KERNELS / "__init__.py").exists()


@pytest.mark.slow
def test_transformers_imports_beside_our_kernels_folder():
    code = "import transformers, transformers.integrations.hub_kernels"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=KERNELS.parent, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.py")), ids=lambda path: path.name)
def test_kernels_use_plain_pointers(path):
    """Triton 3.9 removed block pointers; pointer arithmetic runs from 3.6 on."""
    source = path.read_text()
    assert not re.search(r"make_block_ptr|tl\.advance", source)
    imported = re.findall(r"^(?:from|import) ([\w.]+)", source, re.MULTILINE)
    # torch, triton, the standard library, and other kernels beside it; nothing of fastbrain
    roots = {name.split(".")[0] for name in imported if not name.startswith(".")}
    assert roots <= {"torch", "triton", *sys.stdlib_module_names}
    assert not any(name.startswith("..") for name in imported)

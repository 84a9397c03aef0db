"""An op compiled before it was ever called: nothing may be left to prepare while tracing."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALLS = {
    "tokenize_voxels": """
grid = fb.TokenGrid.from_mask(np.ones((9, 8, 7), bool), (3, 3, 3))
weight = torch.randn(5, 1, 3, 3, 3)
call = lambda: fb.tokenize_voxels(torch.randn(2, 1, 9, 8, 7), weight, grid=grid)
""",
    "lora_linear": """
call = lambda: fb.lora_linear(
    torch.randn(3, 8), torch.randn(6, 8), None, torch.randn(2, 8), torch.randn(6, 2)
)
""",
    "neighborhood_clustering": """
def call():
    rows, memory, heads = (F.normalize(torch.randn(n, 8), dim=1) for n in (4, 20, 3))
    return fb.neighborhood_clustering(
        rows, heads, memory, torch.arange(4), temperature=0.05, variant="dance"
    )
""",
    "vq_lookup": """
call = lambda: fb.vq_lookup(torch.randn(3, 8), torch.randn(5, 8))
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("op", CALLS)
def test_the_first_call_may_be_compiled(op):
    script = (
        "import numpy as np, torch, torch.nn.functional as F, fastbrain as fb\n"
        f"{CALLS[op]}\n"
        "torch.compile(call, fullgraph=True, backend='aot_eager')()\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_the_compiler_is_imported_by_those_who_compile():
    code = "import fastbrain.llm4brain.training, sys; print('torch._dynamo' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"

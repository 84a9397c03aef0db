"""An op compiled before it was ever called: nothing may be left to prepare while tracing."""

from __future__ import annotations

import subprocess
import sys

import pytest

# each op is compiled in a process of its own, forked when PyTorch is imported and no op was called
SCRIPT = """
import os, traceback
import numpy as np, torch, torch.nn.functional as F
import fastbrain as fb

def tokenize_voxels():
    grid = fb.TokenGrid.from_mask(np.ones((9, 8, 7), bool), (3, 3, 3))
    weight = torch.randn(5, 1, 3, 3, 3)
    return lambda: fb.tokenize_voxels(torch.randn(2, 1, 9, 8, 7), weight, grid=grid)

def lora_linear():
    return lambda: fb.lora_linear(
        torch.randn(3, 8), torch.randn(6, 8), None, torch.randn(2, 8), torch.randn(6, 2)
    )

def neighborhood_clustering():
    def call():
        rows, memory, heads = (F.normalize(torch.randn(n, 8), dim=1) for n in (4, 20, 3))
        return fb.neighborhood_clustering(
            rows, heads, memory, torch.arange(4), temperature=0.05, variant="dance"
        )
    return call

def vq_lookup():
    return lambda: fb.vq_lookup(torch.randn(3, 8), torch.randn(5, 8))

torch.set_num_threads(1)
import torch._dynamo
for make in (tokenize_voxels, lora_linear, neighborhood_clustering, vq_lookup):
    child = os.fork()
    if not child:
        code = 1
        try:
            torch.compile(make(), fullgraph=True, backend="aot_eager")()
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    print(make.__name__, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_the_first_call_may_be_compiled():
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    ops = ("tokenize_voxels", "lora_linear", "neighborhood_clustering", "vq_lookup")
    assert ran.stdout.splitlines() == [f"{op} 0" for op in ops], ran.stderr[-4000:]


def test_the_compiler_is_imported_by_those_who_compile():
    code = "import fastbrain.llm4brain.training, sys; print('torch._dynamo' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"

"""Kernels in a forked child: without the threads of its parent, and where none may be started."""

from __future__ import annotations

import subprocess
import sys

import pytest

# the child gives up after so many seconds: a hang must not last as long as the suite
CHILD = """
import os, resource, signal, torch
from fastbrain import _native
torch.set_num_threads(2)
x = torch.ones(1 << 20)
{before}
child = os.fork()
if child == 0:
    signal.alarm(20)
    {inside}
    os._exit(0 if _native.all_below(x.data_ptr(), 0, x.numel(), 10, 2) else 3)
print(os.waitpid(child, 0)[1])
"""
# memory for no stack of a thread
TIGHT = (
    "pages = int(open('/proc/self/statm').read().split()[0]); "
    "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 20),) * 2)"
)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("before", "inside"),
    [
        pytest.param("torch.exp(torch.ones(1 << 20))", "pass", id="threads-of-torch-alone"),
        pytest.param("pass", TIGHT, id="no-thread-may-be-started"),
    ],
)
def test_the_first_kernel_of_a_forked_child_ends(before, inside):
    code = CHILD.format(before=before, inside=inside)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
    assert ran.stdout.strip() == "0", ran.stderr

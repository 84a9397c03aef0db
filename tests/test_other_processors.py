"""What depends on the order in which a library adds holds on other processors too.

The libraries choose their kernels by what the processor has, and kernels add in different orders.
Here they are told to do without: as on a processor that has AVX2 alone, and on one without it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastbrain import _native

HERE = Path(__file__).parent
# files whose assertions compare sums that were made in two ways
PARTS = (
    "brainllm/test_story.py",
    "decoding/engine/test_engine_generate.py",
    "decoding/engine/test_engine_models.py",
    "decoding/engine/test_engine_rows.py",
    "decoding/test_generation.py",
    "decoding/test_scoring.py",
    "encoding_model/test_encoding_decode.py",
    "llm4brain/test_llm4brain_model.py",
    "vqlm/test_alignment.py",
    "brainllm/training/test_shared_prompt.py",
    "llm4brain/training/test_losses.py",
    "training/test_execution.py",
)
PROCESSORS = {
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "FASTBRAIN_ISA": "avx2",
    },
    "baseline": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ATEN_CPU_CAPABILITY": "default",
        "FASTBRAIN_ISA": "baseline",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PROCESSORS if name in _native.isas()])
def test_sums_agree_on_other_processors(name):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PARTS]
    environment = {**os.environ, **PROCESSORS[name], "FASTBRAIN_TEST_PART": "1/1"}
    ran = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", ran.stdout)[1]) >= 100


@pytest.mark.slow
@pytest.mark.skipif("avx512" not in _native.isas(), reason="this CPU has no AVX-512")
def test_bfloat16_is_as_accurate_without_its_instructions():
    # as on a CPU with AVX-512 but neither AVX512_BF16 nor AMX, where PyTorch widens to float32
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "FASTBRAIN_ISA": "avx512"}
    environment |= {"FASTBRAIN_TEST_PART": "1/1"}
    part = "ops/test_neighborhood_rounded.py"
    # of other instruction sets than these the file starts processes by itself
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", part]
    command += ["-k", "not instruction_sets"]
    ran = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", ran.stdout)[1]) >= 30

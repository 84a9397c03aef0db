"""What can be known of the GPU's adapted layers without one: their choice, and their operators."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest
import torch
from interpreted import interpreted

from fastbrain.kernels import tables
from fastbrain.kernels.lora_shapes import MANY_ROWS, layer_class, row_class
from fastbrain.ops import LoraWeights, _triton, lora_attention
from fastbrain.ops.lora import attention, cuda, triton
from fastbrain.ops.lora.checks import AttentionProblem, LinearProblem


def test_few_or_narrow_layers_are_for_the_kernels_of_the_gpu(monkeypatch):
    monkeypatch.setattr(_triton, "INTERPRETED", True)
    weight, a, b = torch.empty(2048, 4096), torch.empty(8, 4096), torch.empty(2048, 8)
    few = LinearProblem(torch.empty(16, 4096), weight, None, a, b, 1.0, None)
    assert triton.can_run(few) is None
    assert "expected to be faster" in triton.can_run(few._replace(x=torch.empty(17, 4096)))
    assert "float64" in triton.can_run(few._replace(x=few.x.double()))
    narrow = few._replace(x=torch.empty(17, 1024), weight=torch.empty(4096, 1024))
    a, b = torch.empty(65, 1024), torch.empty(4096, 65)
    assert "at most 64" in triton.can_run(narrow._replace(a=a, b=b))
    assert triton.can_run(narrow._replace(a=a[:64], b=b[:, :64])) is None


@pytest.mark.parametrize("rows", [17, 2048])
def test_the_table_of_the_gpu_decides_about_wide_layers(rows, monkeypatch):
    pytest.importorskip("triton", reason="triton is not installed")
    monkeypatch.setattr(_triton, "INTERPRETED", True)
    weight, a, b = torch.empty(2048, 4096), torch.empty(8, 4096), torch.empty(2048, 8)
    x = torch.empty(rows, 4096)
    problem = LinearProblem(x, weight, None, a, b, 1.0, None)
    assert triton._MANY_ROWS == MANY_ROWS
    shape = layer_class(x.dtype, row_class(rows), 4096, 2048, 8)
    assert "expected to be faster" in triton.can_run(problem)
    for winner, reason in (
        ("wide-BM64-BN64-BK16-BR16-GROUP8-w8-s2", None),
        ("joined", None),
        ("apart", "measured to be faster on this GPU"),
    ):
        with tables.forced("lora_wide", winner, shape):
            found = triton.can_run(problem)
        assert found is None if reason is None else reason in found
    with tables.forced("lora_wide", "joined", f"{shape} of another layer"):
        assert "expected to be faster" in triton.can_run(problem)


def test_the_table_is_read_by_the_class_of_a_layer(monkeypatch):
    choices = {"lora_wide": {layer_class(torch.bfloat16, 17, 4096, 2048, 8): "joined"}}
    monkeypatch.setattr(tables, "choices_of", lambda gpu: choices)
    monkeypatch.setattr(tables, "gpu_name", lambda index: "some-gpu")
    ask = "torch.bfloat16", False, 2048, 4096, 8
    assert triton._measured(*ask, "cuda:0") == "joined"
    assert triton._measured(*ask, "cpu") == ""
    assert triton._measured("torch.bfloat16", True, 2048, 4096, 8, "cuda:0") == ""


def test_positions_in_the_largest_tile_fit_32_bits():
    kernels = pytest.importorskip("fastbrain.kernels.lora", reason="triton is not installed")
    for dtype in (torch.float32, torch.bfloat16):
        for rows in (1, 1 << 33):
            for candidate in kernels.candidates(dtype, row_class(rows), 64):
                sizes = [candidate.tile.get(name, 0) for name in ("BM", "BN", "BK")]
                assert max(sizes) * triton.WIDEST < 1 << 31


def test_a_gradient_is_not_for_the_decoding_kernel(monkeypatch):
    monkeypatch.setattr(cuda._cuda, "missing", lambda _: None)
    x, weight, a, b = (torch.zeros(n, 8) for n in (16, 5, 3, 5))
    problem = LinearProblem(x, weight, None, a, b[:, :3], 1.0, "gelu")
    assert cuda.can_run(problem) is None
    assert "17 rows" in cuda.can_run(problem._replace(x=torch.zeros(17, 8)))
    assert "rank is 65" in cuda.can_run(problem._replace(a=torch.zeros(65, 8)))
    assert "Triton is faster" in cuda.slower(problem)
    assert cuda.slower(problem._replace(x=x[:4])) is None
    with tables.forced("lora_backend", "cuda", "float32 5 to 16 rows of 8 to 5 rank 3"):
        assert cuda.slower(problem) is None
    with tables.forced("lora_backend", "triton", "float32 1 row of 8 to 5 rank 3"):
        assert "Triton is faster" in cuda.slower(problem._replace(x=x[:1]))
    a.requires_grad_()
    assert "for inference" in cuda.can_run(problem)
    with torch.no_grad():
        assert cuda.can_run(problem) is None


def test_flash_attention_says_what_it_cannot(monkeypatch):
    layer = (torch.empty(48, 16), None), (torch.empty(16, 16), None)
    x = torch.empty(1, 3, 16)
    assert "not installed" in cuda.can_attend(AttentionProblem(x, *layer, {}, 2, None))
    monkeypatch.setattr(cuda, "_HAS_FLASH", True)
    assert "on cpu" in cuda.can_attend(AttentionProblem(x, *layer, {}, 2, None))


def test_flash_attention_gets_the_layout_it_wants(monkeypatch):
    seen = []

    def flash_attn_func(q, k, v):
        seen.append(q.shape)
        return attention.scaled_dot_product(q, k, v, None)

    module = ModuleType("flash_attn")
    module.flash_attn_func = flash_attn_func
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    x = torch.randn(2, 5, 12)
    layer = (torch.randn(36, 12), torch.randn(36)), (torch.randn(12, 12), None)
    adapters = {"q": LoraWeights(torch.randn(2, 12), torch.randn(12, 2), 0.5, "gelu")}
    problem = AttentionProblem(x, *layer, adapters, 3, None)
    got = attention.attention("linear_cpu", problem, cuda._flash)
    expected = lora_attention(x, *layer, adapters=adapters, num_heads=3, backend="reference")
    torch.testing.assert_close(got, expected)
    assert seen == [(2, 5, 3, 4)]


OPERATORS = """
import torch
import fastbrain.ops
x, weight, bias = torch.randn(7, 5), torch.randn(9, 5), torch.randn(9)
a, b = [torch.randn(2, 5), torch.randn(3, 5)], [torch.randn(4, 2), torch.randn(3, 3)]
options = ([0, 6], 0.5, "gelu")
forward = torch.ops.fastbrain.lora_linear_triton.default
for with_bias in (bias, None):
    torch.library.opcheck(forward, (x, weight, with_bias, a, b, *options))
y, low = forward(x, weight, bias, a, b, *options)
for wanted in ([True] * 5, [False, False, False, True, True]):
    arguments = (y.cos(), x, weight, bias, a, b, *options, low, wanted)
    torch.library.opcheck(torch.ops.fastbrain.lora_linear_triton_gradients.default, arguments)
"""


@pytest.mark.slow
def test_interpreted_operators_keep_their_schema():
    pytest.importorskip("triton", reason="triton is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", OPERATORS], env=interpreted(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


# three multiprocessors, so that a program has several tiles
RINGS = """
import torch
import torch.nn.functional as F
from fastbrain.kernels import lora, tables
tables.multiprocessors = lambda tensor: 3
torch.manual_seed(0)
names = [c.name for c in lora.candidates(torch.bfloat16, 1, 5) if c.variant == "ring"]
assert len(names) == 2
for rows, depth, columns in ((1, 300, 264), (16, 256, 225), (7, 40, 31)):
    x, w = torch.randn(rows, depth), torch.randn(columns, depth) / depth**0.5
    low, up, bias = torch.randn(rows, 5), torch.randn(columns, 5), torch.randn(columns)
    x, w, low, up, bias = (t.half() for t in (x, w, low, up, bias))
    wanted = F.linear(x.float(), w.float(), bias.float())
    wanted += 0.5 * F.gelu(low.float()) @ up.float().T
    for by_rows in (True, False):
        right, above = (w, up) if by_rows else (w.T.contiguous(), up.T.contiguous())
        for name in names:
            with tables.forced("lora_wide", name):
                got = lora.wide(
                    x, right, bias, low, above, 0.5, "gelu", by_rows=by_rows, exact=True
                )
            # rounding to float16
            torch.testing.assert_close(got.float(), wanted, rtol=1e-3, atol=1e-3)
"""


@pytest.mark.slow
def test_the_ring_of_a_decoding_step_goes_through_several_tiles():
    pytest.importorskip("triton", reason="triton is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", RINGS], env=interpreted(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_the_decoding_operator_knows_its_shape():
    x, weight = torch.empty(2, 3, 8, device="meta"), torch.empty(5, 8, device="meta")
    a, b = torch.empty(4, 8, device="meta"), torch.empty(5, 4, device="meta")
    y = torch.ops.fastbrain.lora_linear_cuda(x, weight, None, a, b, 0.5, "gelu")
    assert y.shape == (2, 3, 5)

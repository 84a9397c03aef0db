"""Finite rows of any size find their code, or are refused; no sum overflows in silence."""

from __future__ import annotations

import pytest
import torch

from fastbrain import ops
from fastbrain.errors import InputError

BACKENDS = ("cpu", "reference")
SIZES = {
    torch.float32: (1e-30, 1.0, 1e18, 1e20, 1e36),
    torch.bfloat16: (1e-30, 1e18, 1e20, 1e36),
    torch.float16: (1e-3, 300.0, 2000.0),
    torch.float64: (1e-100, 1e30, 1e120, 1e140),
}
CASES = [
    (metric, dtype, size)
    for metric in ("euclidean", "cosine")
    for dtype, sizes in SIZES.items()
    for size in sizes
    # below, squared distances leave the range of float32
    if metric == "cosine" or size > 1e-18
]


def _problem(dtype, size, codes=37, width=9, rows=50):
    """Codes of a given size, rows that are nearest to a known one, and its index."""
    generator = torch.Generator().manual_seed(3)
    unit = torch.randn(codes, width, generator=generator, dtype=torch.float64)
    wanted = torch.randint(1, codes, (rows,), generator=generator)
    codebook = (unit * size).to(dtype)
    # 2 % away from its code, against a distance of several units to every other
    near = 0.02 * torch.randn(rows, width, generator=generator, dtype=torch.float64)
    x = ((unit[wanted] + near) * size).to(dtype)
    return x, codebook, wanted


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("metric", "dtype", "size"), CASES, ids=lambda v: str(v).removeprefix("torch.")
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_large_and_small_rows_find_their_code(backend, metric, dtype, size, packed):
    x, codebook, wanted = _problem(dtype, size)
    codes = ops.pack_codebook(codebook, metric=metric) if packed else codebook
    found = ops.vq_lookup(x, codes, metric=metric, backend=backend)
    assert found.tolist() == wanted.tolist()
    # a single row of a session, and none of it masked by another of ordinary size
    alone = ops.vq_lookup(x[:1], codes, metric=metric, backend=backend)
    assert alone.tolist() == wanted[:1].tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_large_row_leaves_the_others_as_they_are(backend):
    x, codebook, wanted = _problem(torch.float32, 1.0)
    x[7] = 1e36 * codebook[4].sign()
    found = ops.vq_lookup(x, codebook, backend=backend)
    kept = torch.arange(len(x)) != 7
    assert found[kept].tolist() == wanted[kept].tolist()
    # of two codes in a ratio of 1e-36 to the row either may be given: by the cosine they differ
    cosine = ops.vq_lookup(x[7:8], codebook, metric="cosine", backend=backend)
    unit = torch.nn.functional.normalize(codebook.double(), dim=1)
    assert cosine.item() == int((unit @ codebook[4].sign().double()).argmax())


def test_masked_rows_may_hold_anything():
    x, codebook, wanted = _problem(torch.float32, 1.0)
    mask = torch.ones(len(x), dtype=torch.bool)
    for row, value in ((2, torch.nan), (5, torch.inf), (9, 3e38)):
        x[row], mask[row] = value, False
    found = ops.vq_lookup(x, codebook, mask=mask)
    assert found[mask].tolist() == wanted[mask].tolist()
    assert found[~mask].tolist() == [-1, -1, -1]


@pytest.mark.parametrize("where", ["x", "codebook"])
def test_float64_whose_squares_overflow_is_refused(where):
    x, codebook, _ = _problem(torch.float64, 1.0)
    if where == "x":
        x[0] *= 1e200
    else:
        codebook[0] *= 1e200
    with pytest.raises(InputError, match=f"{where} must be below 2\\^"):
        ops.vq_lookup(x, codebook)


def test_sums_of_rows_that_would_overflow_are_refused():
    x, codebook, wanted = _problem(torch.float32, 1e34)
    state = ops.VQState.from_codebook(codebook)
    ops.vq_update_(state, x, wanted, decay=0.5)
    assert bool(state.codebook.isfinite().all())
    with pytest.raises(InputError, match=r"x must be below 2\^.* can be added up"):
        ops.vq_update_(state, x.sign() * 1e38, wanted, decay=0.5)
    with pytest.raises(InputError, match=r"x must be below 2\^.* can be added up"):
        ops.vq_init(x.sign() * 1e38, 4)


def _dense(*shape):
    """Rows of norm 1, which every op takes."""
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def _layouts(*shape):
    dense = _dense(*shape)
    return {
        "sparse_coo": dense.to_sparse(),
        "sparse_csr": dense.to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8),
        "meta": dense.to("meta"),
        "complex": dense.to(torch.complex64),
        "integer": dense.long(),
        "None": None,
        "list": dense.tolist(),
    }


# of the tensor that changes, if not (4, 6)
SHAPES = {"lora_attention x": (1, 4, 6)}
REFUSED = r"must (be a torch\.Tensor|be a dense tensor|have (the )?dtype|be on cpu|hold values)"


def _calls():
    """Each op as a function of one of its tensors."""
    a, b, w, bias = torch.randn(2, 6), torch.randn(4, 2), torch.randn(4, 6), torch.randn(4)
    x, unit = torch.randn(4, 6), _dense(4, 6)
    rows, state = torch.arange(4), ops.VQState.from_codebook(torch.randn(4, 6))
    clustering = {"temperature": 0.1, "variant": "paper"}
    return {
        "lora_linear x": lambda t: ops.lora_linear(t, w, bias, a, b),
        "lora_linear weight": lambda t: ops.lora_linear(x, t, bias, a, b),
        "lora_attention x": lambda t: ops.lora_attention(
            t, (torch.randn(18, 6), None), (torch.randn(6, 6), None), adapters={}, num_heads=2
        ),
        "vq_lookup x": lambda t: ops.vq_lookup(t, w),
        "vq_lookup codebook": lambda t: ops.vq_lookup(x, t),
        "vq_lookup packed": lambda t: ops.vq_lookup(t, ops.pack_codebook(w)),
        "pack_codebook": lambda t: ops.pack_codebook(t),
        "vq_update_": lambda t: ops.vq_update_(state, t, rows, decay=0.5),
        "vq_init": lambda t: ops.vq_init(t, 2),
        "vq_replace_dead_": lambda t: ops.vq_replace_dead_(state, t, threshold=1.0),
        "VQState": lambda t: ops.VQState.from_codebook(t),
        "clustering": lambda t: ops.neighborhood_clustering(t, unit, unit, rows, **clustering),
        "prototypes": lambda t: ops.neighborhood_clustering(unit, t, unit, rows, **clustering),
        "memory": lambda t: ops.neighborhood_clustering(unit, unit, t, rows, **clustering),
        "memory_update_": lambda t: ops.memory_update_(unit, t, rows, momentum=0.5),
        "separation": lambda t: ops.entropy_separation(t, rho=0.5, margin=0.1),
    }


@pytest.mark.parametrize("call", _calls())
def test_dense_tensors_are_taken(call):
    """So that the next test refuses a tensor for what it is, not for its sizes or values."""
    _calls()[call](_dense(*SHAPES.get(call, (4, 6))))


@pytest.mark.parametrize("kind", _layouts(4, 6))
@pytest.mark.parametrize("call", _calls())
def test_tensors_that_no_kernel_reads_are_refused(kind, call):
    odd = _layouts(*SHAPES.get(call, (4, 6)))[kind]
    with pytest.raises(InputError, match=REFUSED):
        _calls()[call](odd)

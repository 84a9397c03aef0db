"""Neighbourhood clustering and entropy separation, with golden values of DANCE's formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastbrain.errors import InputError
from fastbrain.ops import entropy_separation, memory_update_, neighborhood_clustering


def golden_inputs():
    random = np.random.RandomState(0)

    def unit(rows):
        drawn = random.randn(rows, 5)
        return torch.from_numpy(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    return unit(4), unit(3), unit(10), torch.tensor([1, 3, 5, 7])


# computed once in numpy float64 from DANCE's formulas, with -inf where it masks and 1e-5 in the log
@pytest.mark.parametrize(
    ("temperature", "clustering", "separation"),
    [
        (0.05, 0.486673423514048, -0.272681556882199),
        (0.5, 2.207939313695733, 0.0),
    ],
)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_golden_values(backend, temperature, clustering, separation):
    features, prototypes, memory, indices = golden_inputs()
    got = neighborhood_clustering(
        *(features, prototypes, memory, indices),
        temperature=temperature,
        variant="dance",
        backend=backend,
    )
    assert float(got) == pytest.approx(clustering, abs=1e-12)
    logits = features @ prototypes.T / temperature
    got = entropy_separation(logits, rho=math.log(3) / 2, margin=0.5)
    assert float(got) == pytest.approx(separation, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_paper_variant_is_the_formula(backend, temperature):
    features, prototypes, memory, indices = golden_inputs()
    total = 0.0
    for f, own in zip(features, indices.tolist(), strict=True):
        columns = [m for j, m in enumerate(memory) if j != own] + list(prototypes)
        weights = torch.stack([torch.exp(f @ column / temperature) for column in columns])
        p = weights / weights.sum()
        total += float(-(p * p.log()).sum()) / len(features)
    got = neighborhood_clustering(
        *(features, prototypes, memory, indices),
        temperature=temperature,
        variant="paper",
        backend=backend,
    )
    assert float(got) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("variant", ["paper", "dance"])
def test_unvisited_rows_count_as_absent(variant):
    features, prototypes, memory, indices = golden_inputs()
    padded = torch.cat([memory, torch.zeros(7, 5)]).double()
    options = {"temperature": 0.5, "variant": variant}
    plain = neighborhood_clustering(features, prototypes, memory, indices, **options)
    assert torch.equal(
        neighborhood_clustering(features, prototypes, padded, indices, **options), plain
    )


@pytest.mark.parametrize("variant", ["paper", "dance"])
def test_own_row_of_the_memory_has_no_influence(variant):
    features, prototypes, memory, indices = golden_inputs()
    changed = memory.clone()
    changed[indices[:1]] = features[:1]
    options = {"temperature": 0.05, "variant": variant}
    first = [t[:1] for t in (features, indices)]
    plain = neighborhood_clustering(first[0], prototypes, memory, first[1], **options)
    assert torch.equal(
        neighborhood_clustering(first[0], prototypes, changed, first[1], **options), plain
    )


@pytest.mark.parametrize("variant", ["paper", "dance"])
def test_gradients_are_finite_where_columns_are_masked(variant):
    features, prototypes, memory, indices = golden_inputs()
    memory[2] = 0
    leaves = features.requires_grad_(), prototypes.requires_grad_()
    memory.requires_grad_()
    loss = neighborhood_clustering(
        features, prototypes, memory, indices, temperature=0.05, variant=variant
    )
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, leaves, retain_graph=True))
    # the memory is a buffer, even if somebody made it a parameter
    assert torch.autograd.grad(loss, memory, allow_unused=True) == (None,)


def test_half_features_are_compared_in_full_precision():
    features, prototypes, memory, indices = golden_inputs()
    exact = [t.half().double() for t in (features, prototypes, memory)]
    half = [t.half() for t in (features, prototypes, memory)]
    options = {"temperature": 0.05, "variant": "dance"}
    expected = neighborhood_clustering(*exact, indices, **options)
    got = neighborhood_clustering(*half, indices, **options)
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(float(expected), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        single = [t.float() for t in half]
        got = neighborhood_clustering(*single, indices, **options)
    assert float(got) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("variant", ["paper", "dance"])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_to_another_half_precision_changes_nothing(dtype, backend, variant):
    *tensors, indices = golden_inputs()
    half = [t.bfloat16() for t in tensors]
    options = {"temperature": 0.05, "variant": variant, "backend": backend}
    expected = neighborhood_clustering(*half, indices, **options)
    with torch.autocast("cpu", dtype=dtype):
        got = neighborhood_clustering(*half, indices, **options)
    assert torch.equal(got, expected)


def test_update_touches_the_named_rows_only():
    features, _, memory, indices = golden_inputs()
    before = memory.clone()
    memory_update_(memory, features, indices, momentum=0.3)
    others = [row for row in range(10) if row not in indices]
    assert torch.equal(memory[others], before[others])
    expected = F.normalize(0.3 * before[indices] + 0.7 * features, dim=1)
    torch.testing.assert_close(memory[indices], expected)


def test_first_visit_copies_the_feature():
    features, _, _, indices = golden_inputs()
    memory = torch.zeros(10, 5, dtype=torch.float64)
    memory_update_(memory, features, indices, momentum=0.9)
    torch.testing.assert_close(memory[indices], features)


def test_separation_is_constant_inside_the_margin():
    logits = torch.zeros(3, 8, requires_grad=True)
    loss = entropy_separation(logits, rho=math.log(8), margin=0.1)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()


def test_separation_moves_a_sample_away_from_rho():
    for sign, scale in ((1, 0.1), (-1, 9.0)):
        logits = (torch.eye(4)[:1] * scale).requires_grad_()
        loss = entropy_separation(logits, rho=math.log(4) / 2, margin=0.0)
        (gradient,) = torch.autograd.grad(loss, logits)
        # a flat sample gets flatter, a peaked one more peaked
        assert sign * float(gradient[0, 0]) > 0


FEATURES, PROTOTYPES, MEMORY, INDICES = golden_inputs()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": FEATURES[:0], "indices": INDICES[:0]}, "features must hold a sample"),
        ({"features": FEATURES * 2}, "features must have rows of norm 1"),
        ({"features": FEATURES * math.nan}, "features must have rows of norm 1"),
        ({"prototypes": PROTOTYPES[:, 1:]}, "prototypes must have shape"),
        ({"prototypes": PROTOTYPES[:0]}, "prototypes must hold a class"),
        ({"memory": MEMORY.to("meta")}, "memory must be on cpu"),
        ({"memory": MEMORY.long()}, "memory must have dtype"),
        ({"indices": INDICES + 3}, r"indices must be in \[0, 10\)"),
        ({"indices": INDICES - 2}, r"indices must be in \[0, 10\)"),
        ({"indices": INDICES.int()}, "indices must have dtype int64"),
        ({"indices": INDICES[:3]}, "indices must have shape"),
        ({"temperature": math.nan}, "temperature must be finite"),
        ({"temperature": 0.0}, "temperature must be finite"),
        ({"temperature": torch.tensor(0.05)}, "temperature must be a number"),
        ({"variant": "official"}, "variant must be"),
    ],
)
def test_clustering_refuses_what_breaks_its_contract(change, message):
    arguments = {
        "features": FEATURES,
        "prototypes": PROTOTYPES,
        "memory": MEMORY,
        "indices": INDICES,
        "temperature": 0.05,
        "variant": "dance",
    }
    with pytest.raises(InputError, match=message):
        neighborhood_clustering(**(arguments | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": torch.tensor([1, 3, 3, 7])}, "indices must name each row once"),
        ({"indices": torch.tensor([1, 3, 5, 10])}, r"indices must be in \[0, 10\)"),
        ({"features": FEATURES[:3]}, "features must have shape"),
        ({"features": FEATURES * math.nan}, "features must be finite"),
        ({"memory": MEMORY.clone().requires_grad_()}, "memory must be a buffer"),
        ({"momentum": 1.0}, "momentum must be in"),
        ({"momentum": math.nan}, "momentum must be in"),
    ],
)
def test_update_refuses_what_breaks_its_contract(change, message):
    arguments = {"memory": MEMORY, "features": FEATURES, "indices": INDICES, "momentum": 0.0}
    before = MEMORY.clone()
    with pytest.raises(InputError, match=message):
        memory_update_(**(arguments | change))
    assert torch.equal(MEMORY, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(3)}, "logits must have shape"),
        ({"logits": torch.zeros(0, 3)}, "logits must hold a sample"),
        ({"rho": math.nan}, "rho must be finite"),
        ({"margin": -1.0}, "margin must be finite and >= 0"),
        ({"margin": math.inf}, "margin must be finite and >= 0"),
    ],
)
def test_separation_refuses_what_breaks_its_contract(change, message):
    with pytest.raises(InputError, match=message):
        entropy_separation(**({"logits": torch.zeros(2, 3), "rho": 1.0, "margin": 0.5} | change))


def test_a_nan_among_logits_is_not_passed_over():
    logits = torch.zeros(3, 4)
    logits[1] = float("nan")
    assert entropy_separation(logits, rho=0.7, margin=0.1).isnan()

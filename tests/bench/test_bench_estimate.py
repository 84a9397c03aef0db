"""What a shape needs: the same numbers as the cases, and times of a known machine."""

from __future__ import annotations

import json

import pytest

from fastbrain import cli
from fastbrain.bench import Setting, registry
from fastbrain.bench.estimate import estimate
from fastbrain.bench.rows import cache_of
from fastbrain.bench.work import FORMS, work_of
from fastbrain.errors import InputError

BEST = {"bytes": 1e9, "flops": 1e10}


@pytest.mark.parametrize(
    ("op", "case"),
    [
        ("vq_lookup", "64x1024x64"),
        ("lora_linear", "M1-64x64-r8"),
        ("lora_linear", "M64-768x768-r8-step"),
        ("neighborhood_clustering", "B8-N200-D256"),
    ],
)
def test_a_case_and_an_estimate_have_the_same_work(op, case):
    [entry] = [e for e in registry.entries() if (e.op, e.case) == (op, case)]
    problem, need = entry.build(Setting()), work_of(op, case, 4)
    assert (problem.flops, problem.traffic) == (need.flops, need.traffic)


@pytest.mark.parametrize("op", FORMS)
def test_every_example_can_be_read(op):
    need = work_of(op, FORMS[op].example, 4)
    assert need.flops > 0
    assert need.traffic > 0
    assert FORMS[op].example in _refusal(op, "x")


def _refusal(op: str, shape: str) -> str:
    with pytest.raises(InputError) as caught:
        work_of(op, shape, 4)
    return str(caught.value)


def test_known_values():
    # 2 · 3 · 5 · 7 operations; (3 + 5) · 7 floats and three int64 indices
    found = estimate("vq_lookup", "3x5x7", BEST)
    assert found.flops == 210
    assert found.traffic == 4 * 8 * 7 + 8 * 3
    assert found.bound == "memory"
    assert found.least_ms == pytest.approx(248 / 1e9 * 1e3)
    half = estimate("vq_lookup", "3x5x7", BEST, dtype="bfloat16")
    assert half.traffic == 2 * 8 * 7 + 8 * 3
    assert estimate("vq_lookup", "4096x8192x64", BEST).bound == "compute"
    assert found.expected_ms is None


def test_the_share_is_of_rows_of_the_same_op_and_precision():
    def row(share, **other):
        times = {"ms_p20": 1.0, "ms_p50": 1.0, "ms_p80": 1.0, "rounds": 3, "roofline": share}
        names = {"op": "vq_lookup", "case": "a", "provider": "fastbrain", "dtype": "float32"}
        return {**names, **times, "env": {}, **other}

    rows = [row(0.2), row(0.6), row(0.4), row(0.9, provider="rival"), row(0.9, dtype="bfloat16")]
    found = estimate("vq_lookup", "3x5x7", BEST, rows=rows)
    assert (found.share, found.rows) == (0.4, 3)
    assert found.expected_ms == pytest.approx(found.least_ms / 0.4)
    assert cache_of(rows[0]) == "warm"


@pytest.mark.parametrize("shape", ["", "3x5", "3x5x0", "0x5x7", "-3x5x7", "3x5x7x9", "x" * 5000])
def test_a_shape_that_cannot_be_is_refused(shape):
    assert "must be like 4096x8192x64" in _refusal("vq_lookup", shape)
    assert len(_refusal("vq_lookup", shape)) < 300


def test_an_unknown_op_is_refused():
    assert "Did you mean 'vq_lookup'" in _refusal("vq_lokup", "3x5x7")


@pytest.mark.parametrize(("threads", "said"), [(1, "1 thread"), (2, "2 threads")])
def test_the_command_reads_the_roofline_of_rows(tmp_path, capsys, threads, said):
    env = {"cpu": "AMD EPYC", "threads": threads, "date": "2026-11-29"}
    path = tmp_path / "rows.jsonl"
    line = {"op": "roofline", "case": "float32", "gbytes": 1.0, "gflops": 10.0, "env": env}
    path.write_text(json.dumps(line) + "\n")
    words = ["bench", "estimate", "vq_lookup", "3x5x7", "--rows", str(path)]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"] == f"AMD EPYC, {said}"
    assert found["least_ms"] == pytest.approx(2.48e-4)
    assert cli.main(words) == 0
    assert "bound by memory" in capsys.readouterr().out
    assert cli.main([*words, "--dtype", "bfloat16"]) == 1
    assert "must hold a roofline in bfloat16" in capsys.readouterr().err

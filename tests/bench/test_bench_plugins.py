"""What an installed package adds to the benchmarks by an entry point."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fastbrain.bench import Setting, assembly
from fastbrain.bench.providers import PEERS
from fastbrain.errors import ConfigError


def test_a_package_adds_an_op_and_a_provider(points):
    entries = {entry.id: entry for entry in assembly.all_entries()}
    assert {"squares-small", "squares-large", "vq_lookup-64x1024x64"} <= set(entries)
    assert {"mine", "absent", "peft", "vllm"} <= set(assembly.provider_names())
    problem, reasons = assembly.assembled(entries["squares-small"], Setting())
    assert set(problem.providers) == {"fastbrain", "wrong", "mine"}
    assert problem.error("mine", problem.providers["mine"]()) == 0.0
    assert reasons == {"absent": "not installed: pip install it"}


def test_a_plug_in_that_cannot_be_loaded_is_named(points):
    def load():
        raise ImportError("no such module")

    points.append(SimpleNamespace(name="broken", value="a.module", load=load))
    with pytest.raises(ConfigError, match=r"'broken' \(a.module\) must be importable, got ImportE"):
        assembly.all_entries()


def test_a_plug_in_that_holds_something_else_is_named(points):
    points.append(SimpleNamespace(name="odd", value="a.list", load=lambda: [3]))
    with pytest.raises(ConfigError, match="must hold Entry and Provider objects, got int"):
        assembly.all_entries()


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.op}-{peer.name}")
def test_a_peer_runs_or_says_why_not(peer):
    """On the CPU in float32, with inputs that every peer of the op could take."""
    inputs = {"activation": None, "upstream": None}
    reason = peer.can_run(inputs, Setting())
    on_gpu = {"unsloth", "flash_kmeans", "cuvs_brute_force", "hf_flash_attn", "vllm", "liger"}
    if peer.name in on_gpu:
        assert reason == "needs a CUDA GPU"
    else:
        assert reason is None or reason.startswith("not installed: pip install ")


@pytest.mark.parametrize(
    ("name", "inputs", "setting", "told"),
    [
        ("peft", {"activation": "gelu"}, Setting(), "has linear adapters only"),
        ("faiss_flat", {}, Setting("cuda"), "faiss-cpu searches on the CPU"),
        ("faiss_flat", {}, Setting(dtype=torch.float16), "computes in float32 only"),
        ("hf_flash_attn", {}, Setting("cuda"), "computes in half precision only"),
        ("unsloth", {"activation": None, "upstream": 1}, Setting("cuda"), "no bias to train"),
    ],
)
def test_why_a_peer_takes_no_part(name, inputs, setting, told):
    peer = next(peer for peer in PEERS if peer.name == name)
    assert told in peer.can_run(inputs, setting)

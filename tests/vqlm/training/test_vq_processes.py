"""Two processes train as one does on both their batches: codebook and encoder alike."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from fastbrain.vqlm import QuantiserConfig, VQAutoencoder, VQAutoencoderConfig
from fastbrain.vqlm.training import CodedSeries, VQStageConfig, start_codebook
from fastbrain.vqlm.training.series_loader import SeriesBatch

REGIONS, FRAMES, WINDOWS, STEPS = 3, 20, 12, 8
# as large as each other: then the mean of two means is the mean of all
SHARES = {"alone": [slice(0, 12)], "two": [slice(0, 6), slice(6, 12)]}
# float32, added up in another order
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def batch(step, share):
    """Windows of slow waves in noise."""
    generator = torch.Generator().manual_seed(step)
    phase = 6.3 * torch.rand(WINDOWS, REGIONS, 1, generator=generator)
    noise = 0.3 * torch.randn(WINDOWS, REGIONS, FRAMES, generator=generator)
    series = (torch.sin(0.5 * torch.arange(FRAMES) + phase) + noise)[share]
    return SeriesBatch(series, None, tuple(f"{i}:0" for i in range(len(series))))


def trained(share, dead_below, wrap=lambda objective: objective):
    """Weights and codebook after some steps, and the codebook at the start."""
    torch.manual_seed(0)
    quantiser = QuantiserConfig(codes=24, dim=6, decay=0.8, dead_below=dead_below)
    sizes = VQAutoencoderConfig(
        REGIONS, patch=5, dim=16, depth=1, heads=2, decoder_depth=1, quantiser=quantiser
    )
    model = VQAutoencoder(sizes, center=[0.0] * REGIONS, spread=[1.0] * REGIONS)
    start_codebook(model, [batch(-1, share)], seed=3)
    start = model.quantiser.codebook.clone()
    objective = CodedSeries(model, VQStageConfig(), steps=STEPS).train()
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.05, momentum=0.9)
    shared = wrap(objective)
    for step in range(STEPS):
        objective.before_step()
        shared(batch(step, share))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step()
    return {"start": start, **model.state_dict()}


def work(folder, rank):
    """One of two processes."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for dead_below in (0.0, 0.5):
        found = trained(SHARES["two"][rank], dead_below, DistributedDataParallel)
        torch.save(found, f"{folder}/{rank}-{dead_below}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(shared_by_workers, run_two):
    """What both processes ended with."""

    def train(folder):
        run_two(sys.executable, __file__, str(folder))
        return folder

    return shared_by_workers("vq-processes", train)


def ends(folder, dead_below):
    return [torch.load(folder / f"{rank}-{dead_below}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("dead_below", [0.0, 0.5])
def test_processes_end_with_the_same_bits(folder, dead_below):
    first, second = ends(folder, dead_below)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.slow
def test_two_processes_are_one_with_both_batches(folder):
    alone, (both, _) = trained(SHARES["alone"][0], 0.0), ends(folder, 0.0)
    # rows are gathered in order, so k-means has the same ones
    assert torch.equal(both["start"], alone["start"])
    assert not torch.allclose(alone["quantiser.codebook"], alone["start"], atol=0.05)
    for name, value in alone.items():
        torch.testing.assert_close(both[name], value, **CLOSE, msg=lambda m, n=name: f"{n}: {m}")
    half = trained(SHARES["two"][0], 0.0)
    for name in ("quantiser.codebook", "embed.weight"):
        assert not torch.allclose(half[name], alone[name], atol=1e-3)


def test_revived_codes_are_the_same_in_both(folder):
    revived, _ = ends(folder, 0.5)
    left, _ = ends(folder, 0.0)
    assert not torch.equal(revived["quantiser.codebook"], left["quantiser.codebook"])
    # none of them is below the threshold once the last step has revived it
    count = revived["quantiser.count"]
    assert float(left["quantiser.count"].min() / left["quantiser.count"].mean()) < 0.4
    assert float(count.min() / count.mean()) > 0.4


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))

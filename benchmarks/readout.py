"""Time and peak memory of the readout's start at the size of HAD, on simulated windows.

    OMP_NUM_THREADS=2 python benchmarks/readout.py [--machine NAME] [--windows 20000]

Windows of noise with a few shared directions, as many tokens as a whole brain at 2 mm has, made
batch by batch, so that the memory is that of the fit alone. ``peak_gb`` is what the process holds
beyond what it held before the fit, targets and model included in neither. ``load_before`` is what
else the machine did.
"""

from __future__ import annotations

import argparse
import os
import resource
from time import perf_counter, process_time
from types import SimpleNamespace

import torch
from recording import Recorder

from fastbrain.llm4brain import LLM4Brain, LLM4BrainConfig, Readout
from fastbrain.llm4brain.training import VideoLatents, fit_readout

WIDTH = LLM4BrainConfig().encoder.dim
DIRECTIONS, BATCH = 64, 16


class Windows:
    """Loader of simulated tokens: shared directions of a window, and noise."""

    def __init__(self, windows: int, tokens: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.trial_ids = tuple(f"run-{i // 60}_{i}" for i in range(windows))
        self.codes = torch.randn(windows, DIRECTIONS, generator=generator)
        self.maps = torch.randn(DIRECTIONS, tokens * WIDTH, generator=generator)

    def state_dict(self) -> dict[str, int]:
        """Return nothing: every pass is whole."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start at the first window, as always."""

    def __len__(self) -> int:
        return -(-len(self.trial_ids) // BATCH)

    def __iter__(self):
        for start in range(0, len(self.trial_ids), BATCH):
            rows = torch.arange(start, min(start + BATCH, len(self.trial_ids)))
            noise = torch.Generator().manual_seed(start + 1)
            values = torch.randn(len(rows), self.maps.shape[1], generator=noise)
            values.addmm_(self.codes[rows], self.maps, alpha=0.25)
            yield SimpleNamespace(
                voxels=values,
                subjects=None,
                trial_ids=tuple(self.trial_ids[i] for i in rows.tolist()),
            )


class Decoder(LLM4Brain):
    """What the fit uses of a model, and nothing else: tokens and a readout."""

    device = torch.device("cpu")

    def __init__(self, tokens: int) -> None:
        torch.nn.Module.__init__(self)
        sizes = LLM4BrainConfig()
        latents = sizes.qformer
        self.readout = Readout(tokens, WIDTH, sizes.readout_rank, latents.n_queries, latents.dim)

    def train(self, mode: bool = True) -> Decoder:
        """Do nothing: there is no mode."""
        return self

    def tokens(self, voxels: torch.Tensor, subjects: object = None) -> torch.Tensor:
        """Tokens (B, n, dim) of a batch, which holds them already."""
        return voxels.unflatten(1, (-1, WIDTH))


def peak_gb() -> float:
    """Most memory that the process has held, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Fit once and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    parser.add_argument("--windows", type=int, default=20_000)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--shared", action="store_true", help="other work ran on the machine")
    args = parser.parse_args()
    recorder = Recorder(args.machine)
    load = os.getloadavg()[0]
    model, loader = Decoder(args.tokens), Windows(args.windows, args.tokens)
    width = model.readout.write.out_features // model.readout.n_queries
    encode = torch.randn(DIRECTIONS, width, generator=torch.Generator().manual_seed(2))
    vectors = (loader.codes @ encode)[:, None].expand(-1, model.readout.n_queries, -1)
    targets = VideoLatents({t: i for i, t in enumerate(loader.trial_ids)}, vectors)
    before, start, used = peak_gb(), perf_counter(), process_time()
    fit = fit_readout(model, loader, targets)
    recorder.row(
        op="readout",
        case=f"{args.windows} windows of {args.tokens} tokens",
        method=fit.plan.method,
        dimensions=fit.plan.size,
        planned_gb=fit.plan.bytes / 1e9,
        peak_gb=peak_gb() - before,
        seconds=perf_counter() - start,
        cpu_seconds=process_time() - used,
        r2=fit.r2,
        load_before=load,
        shared_machine=args.shared,
    )


if __name__ == "__main__":
    main()

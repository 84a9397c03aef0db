"""What takes minutes: principal components of a whole scan, and a test by a hundred permutations.

    python benchmarks/brainllm_long.py pca|permutations [--share 0.1] [--machine NAME]

Each way runs once, so rows have no interval. ``pca``: 2,000 volumes of 100,000 voxels as int16,
1,000 components, beside scikit-learn's exact PCA on the same values as float32. ``permutations``:
470 brains and sentences, each sentence after its own brain and after those of `count` derangements,
through BrainLLM before a language model of 20 million weights. ``--share`` scores only so many of
the pairs and says so in the row.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from recording import Recorder

from fastbrain.bench.cases.brainllm import Size, model
from fastbrain.bench.registry import Setting
from fastbrain.data import ArrayRows, fit_pca
from fastbrain.decoding import mean_nll, score_pairs
from fastbrain.stats import derangements, needed_pairs

ROWS, VOXELS, COMPONENTS = 2_000, 100_000, 1_000
SENTENCES = 470


def main() -> None:
    """Time one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("pca", "permutations"))
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--share", type=float, default=1.0, help="of the pairs; default all")
    parser.add_argument("--count", type=int, default=100, help="derangements; default 100")
    parser.add_argument("--note", default="", help="what else the machine did meanwhile")
    args = parser.parse_args()
    if args.what == "pca" and (args.share, args.count) != (1.0, 100):
        parser.error("--share and --count are options of permutations")
    torch.set_num_threads(args.threads)
    recorder = Recorder(args.machine)
    if args.what == "pca":
        pca(recorder, args.note)
    else:
        permutations(recorder, args.count, args.share, args.note)


def pca(recorder: Recorder, note: str) -> None:
    """Exact components of int16 on disk, and scikit-learn's."""
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        stored = np.lib.format.open_memmap(
            Path(folder) / "rows.npy", mode="w+", dtype=np.int16, shape=(ROWS, VOXELS)
        )
        # components of falling size, as many as are kept, and little noise: both must find the
        # same subspace
        loads = rng.normal(size=(COMPONENTS, VOXELS)).astype(np.float32)
        loads /= np.sqrt(np.arange(1, COMPONENTS + 1, dtype=np.float32))[:, None]
        for start in range(0, ROWS, 200):
            values = rng.normal(size=(200, COMPONENTS)).astype(np.float32) @ loads
            values += 0.1 * rng.normal(size=values.shape).astype(np.float32)
            stored[start : start + 200] = 400 * values
        del loads, values
        start = perf_counter(), process_time()
        ours = fit_pca(ArrayRows(stored), COMPONENTS, fitted_on=("all",))
        seconds = {"fastbrain": (perf_counter() - start[0], process_time() - start[1])}
        start = perf_counter(), process_time()
        theirs = PCA(COMPONENTS, svd_solver="full").fit(stored.astype(np.float32))
        seconds["sklearn_full"] = (perf_counter() - start[0], process_time() - start[1])
    # sines of the angles between the two subspaces
    cosines = np.linalg.svd(ours.components @ theirs.components_.T, compute_uv=False)
    error = float(np.sqrt(np.maximum(0, 1 - cosines.min() ** 2)))
    for name, (taken, cpu) in seconds.items():
        ratio = taken / seconds["fastbrain"][0]
        recorder.row(
            op="pca", case=f"{ROWS}x{VOXELS}-k{COMPONENTS}", provider=name,
            ms_p50=1e3 * taken, ms_cpu=1e3 * cpu,
            rounds=1, ratio_to_fastbrain=ratio, ratio_low=ratio, ratio_high=ratio,
            largest_sine=error, dtype="int16", note=note,
        )  # fmt: skip


@torch.no_grad()
def permutations(recorder: Recorder, count: int, share: float, note: str) -> None:
    """Pairs of a permutation test, prefixes read once and shared."""
    size = Size("before-prompt", 0, 0, 0, 0, 384, 3, 32_000, frames=1)
    made = model(size, Setting()).eval()
    parameters = sum(p.numel() for p in made.llm.parameters())
    rng = np.random.default_rng(0)
    partners = derangements(np.arange(SENTENCES) // 4, count=count)
    pairs = torch.from_numpy(needed_pairs(partners).index)
    brains = pairs[:, 0].unique()
    kept = brains[: max(1, round(share * len(brains)))]
    wanted = pairs[torch.isin(pairs[:, 0], kept)]
    lengths = torch.from_numpy(rng.integers(8, 24, SENTENCES))  # with their end tokens
    ids = torch.randint(3, size.vocabulary, (SENTENCES, int(lengths.max())))
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    windows = torch.randn(SENTENCES, 1, size.features)
    start = perf_counter()
    empty = torch.zeros(SENTENCES, 0, dtype=torch.long)
    before, _ = made.before_text(made.prefix(windows), empty)
    mean_nll(score_pairs(made.llm, before, ids, mask, wanted), mask[wanted[:, 1]])
    seconds = perf_counter() - start
    recorder.row(
        op="brainllm_permutations", case=f"{SENTENCES}x{count}", provider="fastbrain",
        ms_p50=1e3 * seconds, rounds=1, ratio_to_fastbrain=1.0, ratio_low=1.0, ratio_high=1.0,
        pairs=len(wanted), share=len(wanted) / len(pairs), ms_whole=1e3 * seconds * len(pairs) /
        len(wanted), parameters=parameters, tokens=float(mask.sum(1).float().mean()),
        dtype="float32", note=note,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""Bytes, arithmetic and read rates of pretraining SC-MBM on HAD, HCP and UK Biobank: computed.

    python benchmarks/scale_plan.py [--tflops 100] [--link 25]

Nothing is measured here. `--tflops` is an assumed sustained rate of one GPU and `--link` an assumed
rate of the exchange between GPUs, GB/s: put in what yours reach. Prints a table of docs/scale.md.
"""

from __future__ import annotations

import argparse

from fastbrain.llm4brain.training import RunConfig

VOXELS = 228_483  # of MNI at 2 mm
PATCHES, PATCH = 669, 8**3  # with brain, of 8 voxels a side
# people, runs, volumes of a run, volumes of a window, windows (HAD: one for each of 720 clips)
COHORTS = {
    "HAD": (30, 12, 156, 2, 30 * 720),
    "HCP rest": (1096, 4, 1200, 8, 1096 * 4 * 150),
    "UK Biobank": (40_000, 1, 490, 8, 40_000 * 61),
}
EPOCHS, BATCH = 10, 16


def flop(frames: int) -> tuple[float, float]:
    """Arithmetic of training on one window, and parameters of tokenizer, encoder and decoder."""
    sizes = RunConfig.preset("paper").model.encoder
    # four products of attention, two of the MLP
    square = 4 + 2 * sizes.mlp_ratio
    encoder = int(sizes.depth * square * sizes.dim**2)
    decoder = int(sizes.decoder_depth * square * sizes.decoder_dim**2)
    tokenizer = frames * PATCH * sizes.dim
    seen = (1 - sizes.mask_ratio) * PATCHES
    work = 2 * encoder * seen + 4 * sizes.depth * seen**2 * sizes.dim
    work += 2 * decoder * PATCHES + 4 * sizes.decoder_depth * PATCHES**2 * sizes.decoder_dim
    work += 2 * tokenizer * PATCHES + 2 * frames * PATCH * sizes.decoder_dim * PATCHES
    # a training step has three products for each of inference
    return 3 * work, encoder + decoder + tokenizer


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tflops", type=float, default=100.0)
    parser.add_argument("--link", type=float, default=25.0)
    given = parser.parse_args()
    columns = (
        "cohort",
        "store",
        "windows",
        "FLOP",
        "GPUs",
        "10 epochs",
        "read",
        "step",
        "exchange",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, (people, runs, volumes, frames, windows) in COHORTS.items():
        size = people * runs * volumes * VOXELS * 2
        work, parameters = flop(frames)
        first = (name, f"{size / 1e9:,.0f} GB", f"{windows:,}", f"{work:.1e}")
        for gpus in (1, 8, 64):
            step = BATCH * work / (given.tflops * 1e12)
            # a ring sends and receives every gradient twice
            exchange = 0.0 if gpus == 1 else 2 * 4 * parameters / (given.link * 1e9)
            # the exchange follows the backward pass, so that their times add up
            rate = gpus * BATCH / (step + exchange)
            minutes = windows * EPOCHS / rate / 60
            read = rate * frames * VOXELS * 2 / 1e9
            found = (
                f"{minutes:,.1f} min",
                f"{read:,.1f} GB/s",
                f"{1e3 * step:.0f} ms",
                f"{1e3 * exchange:.0f} ms",
            )
            print(f"| {' | '.join((*first, str(gpus), *found))} |")
            first = ("", "", "", "")


if __name__ == "__main__":
    main()

"""Predict bytes, operations and time of an op on a shape, without running it.

fastbrain bench estimate vq_lookup 4096x8192x64

fastbrain bench estimate lora_linear M64-768x3072-r16 --rows rows.jsonl

With --rows, the roofline and the share of it that fastbrain reaches come from rows of
`fastbrain bench run`; without, the roofline of this machine is measured in a second or two.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain bench estimate``."""

    op: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OP")]
    """Op, as vq_lookup."""
    shape: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SHAPE")]
    """Shape, written as the cases are named: 4096x8192x64."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Precision of the floating numbers."""
    rows: tuple[Path, ...] = ()
    """Files of rows, or folders of them; default: measure the roofline now."""
    device: str = "cpu"
    """Without --rows: device of which the roofline is measured, e.g. cuda."""
    threads: int | None = None
    """Without --rows: threads of the CPU; default: those of PyTorch."""
    json: bool = False
    """Print JSON."""


def run(config: Config) -> None:
    """Print the estimate."""
    from ..bench.estimate import estimate, machine_best
    from ..bench.rows import read_rows
    from ..bench.work import work_of

    work_of(config.op, config.shape, 4)  # before anything is measured
    if config.rows:
        best, machine, own = machine_best(read_rows(config.rows), config.dtype)
    else:
        (best, machine), own = _measured(config), []
    found = estimate(config.op, config.shape, best, dtype=config.dtype, rows=own)
    if config.json:
        print(json.dumps({**asdict(found), "machine": machine, "best": best}, indent=2))
        return
    print(f"{config.op} {config.shape} in {config.dtype} on {machine}")
    print(f"  roofline     {best['bytes'] / 1e9:.1f} GB/s, {best['flops'] / 1e9:.1f} GFLOP/s")
    print(f"  operations   {found.flops:.4g}")
    print(f"  bytes        {found.traffic:.4g}")
    print(f"  intensity    {found.intensity:.3g} operations a byte: bound by {found.bound}")
    print(f"  least time   {found.least_ms:.4g} ms")
    if found.expected_ms is not None:
        print(
            f"  expected     {found.expected_ms:.4g} ms, at the median share of {found.share:.0%} "
            f"of {found.rows} rows"
        )


def _measured(config: Config) -> tuple[dict[str, float], str]:
    import torch

    from ..bench.ceilings import roofline
    from ..bench.machine import cpu_name, no_tf32
    from ..bench.registry import Setting
    from ..bench.rows import threads_in_words
    from ..bench.session import DTYPES
    from ..errors import ConfigError

    if config.threads is not None:
        if config.threads < 1:
            raise ConfigError(
                f"bench estimate: threads must be at least 1, got {config.threads}. Raise it."
            )
        torch.set_num_threads(config.threads)
    no_tf32()
    setting = Setting(config.device, DTYPES[config.dtype])
    name = f"{cpu_name()}, {threads_in_words(torch.get_num_threads())}"
    if setting.on_gpu:
        name = torch.cuda.get_device_name(config.device)
    return roofline(setting, rounds=5), name

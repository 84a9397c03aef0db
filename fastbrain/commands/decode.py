"""Write the text that a trained model reads from brain windows.

fastbrain decode runs/demo/run --part test --out decoded.tsv
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._environment import check_file
from .._progress import say
from ._sampling import SamplingOptions
from ._subjects import refuse_unknown_subject


@dataclass(frozen=True)
class Config(SamplingOptions):
    """Options of ``fastbrain decode``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = tyro.MISSING
    """Run folder from `fastbrain train`."""
    part: Literal["train", "val", "test"] = "test"
    """Part of the split to decode."""
    out: Path | None = None
    """TSV to write; default: print."""
    store: Path | None = None
    """Folder of the store; default: its recorded path, or the same path relative to the run."""
    unknown_subject: Literal["refuse", "mean"] | None = None
    """People that the model's table of subjects lacks: an error, or the mean of all entries."""
    device: str = "cpu"
    """Device for decoding, e.g. cuda."""


def run(config: Config) -> None:
    """Decode the windows and write the texts."""
    from ..brainllm.evaluate import is_brainllm_run, open_brainllm_run, write_brainllm
    from ..data import WindowLoader
    from ..llm4brain import decode_windows, open_run
    from ..llm4brain.evaluate import write_texts

    if config.out is not None:
        check_file(config.out, function="decode")
    if is_brainllm_run(config.run):
        refuse_unknown_subject("decode", config.unknown_subject)
        saved, store, _ = open_brainllm_run(config.run, store=config.store, device=config.device)
        ids = store.split.part(config.part)
        texts = write_brainllm(saved, store, ids, sampling=config.sampling())
    else:
        model, store, _ = open_run(
            config.run,
            store=config.store,
            device=config.device,
            unknown_subject=config.unknown_subject,
        )
        loader = WindowLoader(store, store.split.part(config.part), batch_size=32, shuffle=False)
        decoded = decode_windows(model, loader, sampling=config.sampling())
        ids, texts = decoded.trial_ids, decoded.texts
    if config.out is None:
        for trial, text in zip(ids, texts, strict=True):
            print(f"{trial}\t{text}")
        return
    write_texts(config.out, ids, texts)
    say(f"{len(texts)} texts written to {config.out}")

"""Time to write the texts of many windows: by ``generate`` in batches, and by the decode engine.

    python benchmarks/systems/writing.py [--run RUN --store STORE] [--windows N] [--machine NAME]

With a run of LLM4Brain, what ``fastbrain evaluate`` writes for the test part; otherwise Llamas with
random weights of 8 and 30 million parameters after 32 windows of 42 embeddings. Greedy and beam
search, on one thread as evaluations run, in processor time, interleaved. A row has the ratio of the
engine's time to that of ``generate``, and whether all texts are equal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time
from types import SimpleNamespace
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from decode_engine import SIZES, random_llama
from recording import Recorder

from fastbrain.bench.timing import interleaved
from fastbrain.decoding import Sampling
from fastbrain.decoding.texts import write_texts

SEARCHES = {"greedy": Sampling(max_new_tokens=12), "beam": Sampling("beam", max_new_tokens=12)}
WINDOWS, POSITIONS = 32, 42
Write = Callable[[Sampling, bool], list[str]]


def of_random_models(windows: int | None) -> Iterator[tuple[str, int, Write]]:
    """Name, number of windows and writer of each model."""
    tokenizer = SimpleNamespace(
        pad_token_id=0, eos_token_id=2, all_special_ids=[2], get_vocab=dict,
        decode=lambda ids, **_: " ".join(map(str, ids)),
    )  # fmt: skip
    for name, size in SIZES.items():
        llm = random_llama(*size)
        count = windows or WINDOWS
        embeds = 0.02 * torch.randn(count, POSITIONS, llm.config.hidden_size)

        def write(sampling: Sampling, engine: bool, llm: Any = llm, embeds: Any = embeds) -> Any:
            return write_texts(llm, tokenizer, embeds, sampling=sampling, engine=engine)

        yield name, count, write


def of_run(run: Path, store: Path, windows: int | None) -> Iterator[tuple[str, int, Write]]:
    """Name, number of windows and writer of a run of LLM4Brain."""
    from fastbrain.data import WindowLoader
    from fastbrain.llm4brain.control_decoder import LLM4BrainDecoder
    from fastbrain.llm4brain.evaluate import open_run
    from fastbrain.llm4brain.questions import questions_of

    model, data, _ = open_run(run, store=store)
    ids = data.split.test[:windows]
    asked = questions_of(model, [data.by_id[i] for i in ids])
    brains = WindowLoader(data, ids, batch_size=32, shuffle=False)
    prefixes = LLM4BrainDecoder(model, prompts=asked).read(brains)

    def write(sampling: Sampling, engine: bool) -> list[str]:
        # texts of a trained model end by themselves
        sampling = replace(sampling, max_new_tokens=Sampling().max_new_tokens)
        decoder = LLM4BrainDecoder(model, prompts=asked, sampling=sampling, engine=engine)
        return decoder.write(prefixes)

    yield "run", len(ids), write


def main() -> None:
    """Measure and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--windows", type=int, help="only so many, in place of all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recorder = Recorder(args.machine)
    if args.run is None:
        cases = of_random_models(args.windows)
    else:
        cases = of_run(args.run, args.store, args.windows)
    for name, windows, write in cases:
        for method, sampling in SEARCHES.items():
            ways = {
                by: (lambda by=by, s=sampling, write=write: write(s, by == "engine"))
                for by in ("generate", "engine")
            }
            same = ways["generate"]() == ways["engine"]()

            def timed(way: Callable[[], Any]) -> float:
                start = process_time()
                way()
                return process_time() - start

            seconds = interleaved(ways, rounds=args.rounds, clock=timed)
            pairs = zip(seconds["engine"], seconds["generate"], strict=True)
            recorder.row(
                op="writing", case=f"{name}, {method}", windows=windows, same_texts=same,
                ms_generate=1e3 * median(seconds["generate"]),
                ms_engine=1e3 * median(seconds["engine"]),
                ratio=median(a / b for a, b in pairs), threads=1, clock="cpu",
            )  # fmt: skip


if __name__ == "__main__":
    main()

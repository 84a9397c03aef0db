"""Tokens per second of the decode engine, of Hugging Face and by the copy of the weights.

    python benchmarks/decode_engine.py [--machine NAME] [--threads 1] [--llm FOLDER] [--rounds 9]

Llamas with random weights of 8 and 30 million parameters and, where a folder is given, a real
model (its row is named by its parameters). Each provider writes one token and 1 + `new` tokens
after 96 embeddings, interleaved with the others; a row holds the time to the first token, and the
time of each further one from the difference. ``floor`` copies as many bytes as a step reads, and
counts half, because a copy also writes. ``--cpu --threads 1`` counts processor time instead of
elapsed time, on a machine that other processes use.

With ``--llm``, and ``--text FILE``, a row for each kind of weights has its nats per token on it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from typing import Any

import torch
from recording import Recorder
from transformers import LlamaConfig, LlamaForCausalLM

from fastbrain.bench.timing import interleaved
from fastbrain.decoding import DecodeEngine, Sampling, generate
from fastbrain.lm import load_llm

PREFIX, NEW = 96, 32
# width, layers, heads, hidden
SIZES = {"8 M": (256, 4, 4, 1024), "30 M": (512, 6, 8, 1536)}
VOCABULARY = 8192
WEIGHTS = {"fastbrain": "model", "fastbrain-bfloat16": "bfloat16", "fastbrain-int8": "int8"}


def main() -> None:
    """Parse the command line, time every model, record a row for each provider."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", help="folder below benchmarks/results; default: print only")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--llm", type=Path, help="folder of a real model")
    parser.add_argument("--text", type=Path, help="text that the real model reads")
    parser.add_argument("--cpu", action="store_true", help="processor time; with one thread only")
    args = parser.parse_args()
    if args.cpu and args.threads != 1:
        # the clock of a thread does not count the others
        parser.error(f"--cpu needs --threads 1, got {args.threads}")
    if args.text is not None and args.llm is None:
        parser.error("--text needs --llm")
    torch.set_num_threads(args.threads)
    recorder = Recorder(args.machine)
    clock = thread_time if args.cpu else perf_counter
    facts = {"threads": args.threads, "clock": "cpu" if args.cpu else "elapsed"}
    for name in args.sizes:
        record(recorder, name, random_llama(*SIZES[name]), clock, args.rounds, facts)
    if args.llm is not None:
        llm, tokenizer = load_llm(str(args.llm))
        name = f"{sum(p.numel() for p in llm.parameters()) / 1e6:.0f} M, {args.llm.name}"
        record(recorder, name, llm, clock, args.rounds, facts)
        if args.text is not None:
            record_nats(recorder, name, llm, tokenizer, args.text.read_text())


def random_llama(width: int, depth: int, heads: int, hidden: int) -> Any:
    """A Llama with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=hidden,
        vocab_size=VOCABULARY,
        max_position_embeddings=1024,
    )
    return LlamaForCausalLM(config).eval()


def writers(llm: Any) -> dict[str, Callable[[int], Any]]:
    """Functions that write a number of tokens after the same embeddings."""
    embeds = 0.02 * torch.randn(1, PREFIX, llm.config.hidden_size)
    mask = torch.ones(1, PREFIX, dtype=torch.long)

    def sampling(new: int) -> Sampling:
        return Sampling(max_new_tokens=new, min_new_tokens=new)

    @torch.no_grad()
    def hugging_face(new: int, **options: Any) -> Any:
        return llm.generate(
            inputs_embeds=embeds, attention_mask=mask, max_new_tokens=new, min_new_tokens=new,
            do_sample=False, eos_token_id=2, pad_token_id=0, disable_compile=True, **options,
        )  # fmt: skip

    def with_engine(engine: DecodeEngine) -> Callable[[int], Any]:
        return lambda new: engine.generate(embeds, sampling=sampling(new), eos_token_id=2)

    engines = {
        name: with_engine(DecodeEngine(llm, max_tokens=PREFIX + NEW + 1, weights=weights))
        for name, weights in WEIGHTS.items()
    }
    return {
        **engines,
        "fastbrain-generate": lambda new: generate(
            llm, embeds, eos_token_id=2, sampling=sampling(new)
        ),
        "hf_dynamic": hugging_face,
        "hf_static": lambda new: hugging_face(new, cache_implementation="static"),
    }


def record(
    recorder: Recorder,
    case: str,
    llm: Any,
    clock: Callable[[], float],
    rounds: int,
    facts: dict[str, Any],
) -> None:
    """Time all writers of a model and record a row for each."""
    embedded = llm.get_input_embeddings().weight
    tied = llm.get_output_embeddings().weight is embedded
    read = sum(p.numel() for p in llm.parameters()) - (0 if tied else embedded.numel())
    source, target = torch.ones(read), torch.ones(read)
    ways = {
        (name, new): (lambda way=way, new=new: way(new))
        for name, way in writers(llm).items()
        for new in (1, 1 + NEW)
    }
    named = {f"{name}|{new}": way for (name, new), way in ways.items()}
    named["floor"] = lambda: target.copy_(source)

    def timed(way: Callable[[], Any]) -> float:
        start = clock()
        way()
        return clock() - start

    seconds = interleaved(named, rounds=rounds, clock=timed)
    floor = median(seconds["floor"]) / 2
    each = {
        name: [
            (b - a) / NEW
            for a, b in zip(seconds[f"{name}|1"], seconds[f"{name}|{1 + NEW}"], strict=True)
        ]
        for name in dict.fromkeys(name for name, _ in ways)
    }
    base = median(each["hf_dynamic"])
    for name, token in each.items():
        reduced = {"fastbrain-bfloat16": 2, "fastbrain-int8": 4}.get(name, 1)
        recorder.row(
            op="decode_engine", case=case, provider=name,
            ms_token=median(token) * 1e3, tokens_per_s=1 / median(token),
            ms_first=median(seconds[f"{name}|1"]) * 1e3,
            times_hf_dynamic=base / median(token), ms_floor=floor / reduced * 1e3,
            share_of_floor=floor / reduced / median(token),
            read_mb=read * 4 / reduced / 1e6, rounds=rounds, prefix=PREFIX, new_tokens=NEW,
            **facts,
        )  # fmt: skip


def record_nats(recorder: Recorder, case: str, llm: Any, tokenizer: Any, text: str) -> None:
    """Record what reduced weights cost in nats per token."""
    ids = tokenizer.encode(text)[:512]
    for name, weights in WEIGHTS.items():
        nats = DecodeEngine(llm, tokenizer, max_tokens=len(ids), weights=weights).text_nll(ids)
        recorder.row(
            op="decode_engine_perplexity", case=case, provider=name, nats=nats,
            perplexity=math.exp(nats), tokens=len(ids) - 1,
        )  # fmt: skip


if __name__ == "__main__":
    main()

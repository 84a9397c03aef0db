"""CPU time to draw the next token from a part of a large vocabulary, beside ordering all of it.

    python benchmarks/systems/sampling.py --llm MODEL [--rows 16] [--rounds 9] [--threads 1]

Logits of a language model after the first words of its own greedy text. Both ways draw the same
tokens; they run in turn, times are CPU milliseconds of one draw for all rows.
"""

from __future__ import annotations

import argparse
import json
from statistics import median
from time import process_time

import torch

from fastbrain.decoding import Sampling, sampling
from fastbrain.lm import load_llm

CASES = {
    "top_p 0.95": Sampling("sample", top_p=0.95),
    "top_p 0.9, temperature 0.7": Sampling("sample", top_p=0.9, temperature=0.7),
    "min_p 0.05": Sampling("sample", min_p=0.05),
}


def main() -> None:
    """Collect logits, time both ways in turn, print JSON rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llm", required=True)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    llm, tokenizer = load_llm(args.llm)
    ids = torch.tensor([tokenizer.encode("The history of the city begins with a river.")])
    with torch.no_grad():
        ids = llm.generate(ids, max_new_tokens=args.rows, do_sample=False)
        logits = llm(ids).logits[0, -args.rows :].float()
    parts = sampling._PARTS
    for name, config in CASES.items():
        times: dict[str, list[float]] = {"part": [], "all": []}
        for _ in range(args.rounds):
            tokens = []
            for way, counts in (("part", parts), ("all", ())):
                sampling._PARTS = counts
                begin = process_time()
                tokens.append(sampling.pick(logits, config, torch.Generator().manual_seed(0)))
                times[way].append(1e3 * (process_time() - begin))
            assert torch.equal(*tokens)
        found = {way: round(median(values), 2) for way, values in times.items()}
        ratio = round(median(a / b for a, b in zip(*times.values(), strict=True)), 3)
        print(json.dumps({"case": name, "rows": args.rows, **found, "ratio": ratio}))


if __name__ == "__main__":
    main()

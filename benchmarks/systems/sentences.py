"""How much a pretrained language model says of the sentence that was read, teacher-forced.

    python benchmarks/systems/sentences.py --data DIR --llm MODEL [--folds 5] [--samples 256]
        [--write EVERY] [--noise SEED] [--machine NAME]

`DIR` is as in ``examples/pereira_ridge.py``. Folds are by passage, and all that is fitted is fitted
on the training passages. With ``--write``, every EVERY-th sentence is written too and identified
among all of its fold by the written text alone, beside the nearest training sentence.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from _timing import Recorder
from pereira_ridge import matched_noise, passage_parts, read_folder

from fastbrain.decoding import LineWriter, SentenceDecoder, fit_sentence_decoder
from fastbrain.evaluation import pairwise_score
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.evaluation.metrics.text_similarity import meaning_similarity
from fastbrain.lm import load_llm
from fastbrain.lm.sentence_embeddings import SentenceEncoder
from fastbrain.stats import derangements, needed_pairs

DERANGEMENTS = 199


def main() -> None:
    """Fit, score and write fold by fold; one row of all folds."""
    args = _arguments()
    brain, texts, passages = read_folder(args.data)
    if args.noise is not None:
        brain = matched_noise(brain, np.random.default_rng(args.noise))
    parts = passage_parts(passages, args.folds)
    writer, encoder = LineWriter(*load_llm(args.llm)), SentenceEncoder(default_bert()[0])
    true, deranged, alone, blocks, fits = [], [], [], [], []
    written: dict[str, list[float]] = {"written": [], "nearest training sentence": []}
    for part in range(args.folds):
        train, test = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        decoder = fit_sentence_decoder(
            brain[train],
            [texts[i] for i in train],
            groups=[passages[i] for i in train],
            writer=writer,
            encoder=encoder,
            samples=args.samples,
        )
        read, truth = decoder.read(brain[test]), [texts[i] for i in test]
        own = [passages[i] for i in test]
        pairs = needed_pairs(derangements(own, count=DERANGEMENTS, seed=part))
        found = pairs.gather(decoder.score(read, truth, pairs.index))
        nothing = np.stack([np.zeros(len(test), dtype=np.int64), np.arange(len(test))], axis=1)
        true.append(found[0])
        deranged.append(found[1])
        alone.append(decoder.score(decoder.read_nothing(), truth, nothing))
        blocks += own
        fits.append((decoder.evidence.weight, decoder.evidence.effective))
        if args.write:
            identify(decoder, read, truth, args.write, written)
    score = pairwise_score(np.concatenate(true), np.concatenate(deranged, axis=1), blocks=blocks)
    row: dict[str, Any] = {
        "op": "sentences",
        "case": f"{args.folds} folds" + ("" if args.noise is None else f", noise {args.noise}"),
        "llm": Path(args.llm).name,
        "n": len(texts),
        "samples": args.samples,
        "pairwise": score.value,
        "pairwise_ci": score.interval.as_list(),
        "pairwise_p": score.p,
        "n_derangements": DERANGEMENTS,
        "nll": float(np.concatenate(true).mean()),
        "nll_deranged": float(np.concatenate(deranged, axis=1).mean()),
        "nll_nobrain": float(np.concatenate(alone).mean()),
        "weights": [weight for weight, _ in fits],
        "effective": [effective for _, effective in fits],
    }
    if args.write:
        row["n_written"] = len(written["written"])
        row |= {f"two_way {name}": float(np.mean(v)) for name, v in written.items()}
    Recorder(args.machine).row(**row)


def identify(
    decoder: SentenceDecoder,
    read: np.ndarray,
    truth: list[str],
    every: int,
    written: dict[str, list[float]],
) -> None:
    """Add the right-of-two of some written sentences, and of their nearest training sentences."""
    rows = np.arange(0, len(truth), every)
    near = (read[rows] @ decoder.readout.vectors.T).argmax(axis=1)
    said = {
        "written": decoder.write(read[rows]),
        "nearest training sentence": [decoder.readout.texts[i] for i in near],
    }
    for name, lines in said.items():
        like, _ = meaning_similarity(lines, truth)
        own = like[np.arange(len(rows)), rows][:, None]
        wins = (like < own) + 0.5 * (like == own)
        written[name] += ((wins.sum(axis=1) - 0.5) / (len(truth) - 1)).tolist()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sentences")
    parser.add_argument("--llm", required=True, help="a pretrained causal language model")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=256, help="texts written without a brain")
    parser.add_argument("--write", type=int, default=0, metavar="EVERY", help="0: write none")
    parser.add_argument("--noise", type=int, metavar="SEED", help="noise instead of every image")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    return parser.parse_args()


if __name__ == "__main__":
    main()

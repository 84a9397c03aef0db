"""What a pretrained language model says of the sentence that was read: scores and written text.

    python benchmarks/systems/sentences.py --data DIR --llm MODEL [--folds 5] [--samples 256]
        [--write EVERY [--decoder retrieve edit] [--kept FOLDER]] [--noise SEED] [--machine NAME]

`DIR` is as in ``studies/pereira_ridge.py``. Folds are by passage, and all that is fitted is fitted
on the training passages. The first row is teacher-forced. With ``--write``, every EVERY-th sentence
is written by each decoder, and identified among all sentences of its fold by the written text
alone; a row for each decoder, and one for the nearest training sentence. ``--kept`` goes on with
the sentences that an interrupted call has written.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
from pereira_data import matched_noise, read_folder
from recording import Recorder
from written_text import NEAREST

from fastbrain.decoding import LineWriter, SentenceDecoder, fit_sentence_decoder
from fastbrain.decoding.sentences import WRITING
from fastbrain.evaluation import bleu, fluency, pairwise_score
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.lm import load_llm
from fastbrain.lm.sentence_embeddings import SentenceEncoder
from fastbrain.stats import bootstrap_interval, derangements, group_folds, needed_pairs

DERANGEMENTS = 199


class Text:
    """Written sentences of all folds, with what they are compared with."""

    def __init__(self, every: int) -> None:
        self.every, self.seconds = every, 0.0
        self.said: list[str] = []
        self.truth: list[str] = []
        self.blocks: list[str] = []
        self.permuted: list[list[int]] = []
        self.values: dict[str, list[float]] = {"two_way": [], "two_way_layers": [], "top1": []}
        self.copied: list[float] = []

    def add(self, said: list[str], decoder: SentenceDecoder, truth: list[str], own: list[str]):
        """Add every n-th sentence of a fold; candidates are all sentences of the fold."""
        rows = np.arange(0, len(truth), self.every)
        layers = (decoder.readout.encoder.layers(texts)[:, -1] for texts in (said, truth))
        written, true = layers
        for name, like in (
            ("two_way", written @ true.T),
            ("two_way_layers", decoder.readout.embed(said) @ decoder.readout.embed(truth).T),
        ):
            right = like[np.arange(len(rows)), rows][:, None]
            wins = (like < right) + 0.5 * (like == right)
            self.values[name] += ((wins.sum(axis=1) - 0.5) / (len(truth) - 1)).tolist()
        like = written @ true.T
        self.values["top1"] += (like.argmax(axis=1) == rows).astype(float).tolist()
        partners = derangements([own[i] for i in rows], count=DERANGEMENTS, seed=0) + len(self.said)
        self.permuted.append(partners.T.tolist())
        self.copied.append(fluency(said, train_texts=list(decoder.readout.texts)).copied or 0.0)
        self.said += said
        self.truth += [truth[i] for i in rows]
        self.blocks += [own[i] for i in rows]

    def row(self, llm: Any) -> dict[str, Any]:
        """Means, and intervals over passages where there is one."""
        # BLEU distinguishes upper and lower case
        truth, said = ([text.lower() for text in texts] for texts in (self.truth, self.said))
        partners = np.array([row for part in self.permuted for row in part]).T
        found: dict[str, Any] = {}
        for name, values in self.values.items():
            found[name] = float(np.mean(values))
            interval = bootstrap_interval(np.array(values), blocks=self.blocks)
            found[f"{name}_ci"] = interval.as_list()
        others = [bleu([said[i] for i in row], truth, order=1).value for row in partners]
        own = bleu(said, truth, order=1).value
        return found | {
            "n_written": len(self.said),
            "bleu1": own,
            "bleu1_permuted": float(np.mean(others)),
            "bleu1_p": (1 + sum(other >= own for other in others)) / (1 + len(others)),
            "nll_fluency": fluency(self.said, judge=llm).nll,
            "copied_4grams": float(np.mean(self.copied)),
            "distinct_texts": len(set(self.said)),
        }


def main() -> None:
    """Fit, score and write fold by fold; rows of all folds."""
    args = _arguments()
    brain, texts, passages = read_folder(args.data)
    if args.noise is not None:
        brain = matched_noise(brain, np.random.default_rng(args.noise))
    parts = group_folds(passages, args.folds, order="appearance")
    # what an interrupted call has written takes no time now
    fresh = args.kept is None or not args.kept.exists()
    llm = load_llm(args.llm)
    writer, encoder = LineWriter(*llm), SentenceEncoder(default_bert()[0])
    scores: list[Any] = []
    written = {name: Text(args.write) for name in (NEAREST, *args.decoder)} if args.write else {}
    for part in range(args.folds):
        train, test = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        decoder = fit_sentence_decoder(
            brain[train],
            [texts[i] for i in train],
            groups=[passages[i] for i in train],
            writer=writer,
            encoder=encoder,
            samples=args.samples,
            seed=args.seed,
            kept=args.kept,
        )
        read, truth = decoder.read(brain[test]), [texts[i] for i in test]
        own = [passages[i] for i in test]
        scores.append((*forced(decoder, read, truth, own, seed=part), own, decoder.evidence))
        for name, text in written.items():
            rows, start = read[:: args.write], process_time()
            if name == NEAREST:
                near = (rows @ decoder.readout.vectors.T).argmax(axis=1)
                said = [decoder.readout.texts[i] for i in near]
            else:
                options = replace(WRITING[name], seed=args.seed)
                said = replace(decoder, writing=options).write(rows)
            text.seconds += process_time() - start
            text.add(said, decoder, truth, own)
    case = f"{args.folds} folds" + ("" if args.noise is None else f", noise {args.noise}")
    head = {"case": case, "llm": Path(args.llm).name, "n": len(texts), "seed": args.seed}
    record = Recorder(args.machine).row
    record(op="sentences", **head, samples=args.samples, **forced_row(scores))
    for name, text in written.items():
        row = text.row(llm)
        if fresh:
            row["cpu_s_a_sentence"] = text.seconds / len(text.said)
        for key in ("two_way", "two_way_layers"):
            ahead = np.array(text.values[key]) - np.array(written[NEAREST].values[key])
            row[f"{key}_ahead"] = float(ahead.mean())
            row[f"{key}_ahead_ci"] = bootstrap_interval(ahead, blocks=text.blocks).as_list()
        record(op="written_sentences", decoder=name, **head, **row)


def forced(
    decoder: SentenceDecoder, read: np.ndarray, truth: list[str], own: list[str], *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nats a token of the true sentences: own brain (N,), deranged (R, N), no brain (N,)."""
    pairs = needed_pairs(derangements(own, count=DERANGEMENTS, seed=seed))
    nothing = np.stack([np.zeros(len(truth), dtype=np.int64), np.arange(len(truth))], axis=1)
    true, deranged = pairs.gather(decoder.score(read, truth, pairs.index))
    return true, deranged, decoder.score(decoder.read_nothing(), truth, nothing)


def forced_row(scores: list[Any]) -> dict[str, Any]:
    """Teacher-forced scores of all folds."""
    true, deranged, alone = (np.concatenate([s[i] for s in scores], axis=-1) for i in range(3))
    score = pairwise_score(true, deranged, blocks=[block for s in scores for block in s[3]])
    return {
        "pairwise": score.value,
        "pairwise_ci": score.interval.as_list(),
        "pairwise_p": score.p,
        "n_derangements": DERANGEMENTS,
        "nll": float(true.mean()),
        "nll_deranged": float(deranged.mean()),
        "nll_nobrain": float(alone.mean()),
        "weights": [s[4].weight for s in scores],
        "effective": [s[4].effective for s in scores],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sentences")
    parser.add_argument("--llm", required=True, help="a pretrained causal language model")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=256, help="texts written without a brain")
    parser.add_argument("--write", type=int, default=0, metavar="EVERY", help="0: write none")
    parser.add_argument("--decoder", nargs="+", choices=WRITING, default=["retrieve"])
    parser.add_argument("--kept", type=Path, help="folder of written sentences, to go on with")
    parser.add_argument("--seed", type=int, default=0, help="of what is written")
    parser.add_argument("--noise", type=int, metavar="SEED", help="noise instead of every image")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    return parser.parse_args()


if __name__ == "__main__":
    main()

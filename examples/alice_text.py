"""Real fMRI: predict what 20 seconds of a story say, and let a language model write it.

    python examples/alice_text.py --data DIR --out metrics.json [--llm PATH --decoder retrieve]

`DIR` is as in ``alice_words.py``. A decoder learns from one random half of the listeners and is
tested on the other, on a quarter of the story at a time: whatever is fitted or chosen has seen
neither the listeners nor the quarter nor the words and volumes within 20 s of its responses. It
learns from every second volume's 20 s of each learner; the brain is the 12 volumes from 4 s to
28 s after such a segment begins (delays of 3 to 9 s), in six regions of two radii.

From the brain to a segment, among the nine of its quarter:

- ``embedding``: a ridge regression to the layers of MiniLM (``fit_sentence_readout``);
- ``rate``: one to the words, seconds of speech and letters in each of the ten volumes;
- ``both``: the sum of both cosines; how much the rate counts is what finds segments of left-out
  blocks of the training part best.

``two_way_KIND`` is of one listener, ``two_way_KIND_group`` of the mean of the tested half, both
means over random halves (``_range``: 95 % of the halves); ``_ci`` is over blocks of three segments,
``_chance`` and ``_p`` are of other segments' brains, of another block of the quarter.

With ``--llm``, the mean of one tested half is decoded to text as in ``pereira_brainllm.py``, with
the same keys; those that end in ``_nearest`` are of the nearest training segment, copied.
``cpu_s_a_segment`` is what writing one takes. ``--noise SEED`` randomises the phases of each
listener: all scores must fall to chance.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

# the sibling examples read the listeners and the words, and report written texts
from alice_retrieval import RESPONSE, TR, VOLUMES, filtered, random_phases, read_motion, read_radii
from alice_words import heard_between, read_story, word_rates
from pereira_brainllm import Fold, Sentences
from pereira_brainllm import report as report_texts
from pereira_text import WRITERS, decoded, scores_of_text

from fastbrain._io import write_json
from fastbrain._progress import say, track
from fastbrain.decoding import LineWriter, SentenceReadout, fit_sentence_decoder
from fastbrain.decoding.sentences import fit_sentence_readout
from fastbrain.decoding.sentences.readout import two_way
from fastbrain.errors import CohortError, FastbrainError
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.lm import load_llm
from fastbrain.lm.sentence_embeddings import SentenceEncoder
from fastbrain.stats import (
    Ridge,
    bootstrap_interval,
    derangements,
    fit_ridge,
    fold_means,
    permutation_p,
)
from fastbrain.stats.unit_rows import unit_rows

PARTS, BLOCK = 4, 3  # parts of the story; segments of a block within them
GUARD = 10  # volumes between responses, or words, that train and those that are tested
STRETCH = 60  # volumes that are left out together to choose penalties and weights
EVERY = 2  # volumes from one training segment to the next
RATES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
KINDS = ("embedding", "rate", "both")
# a segment has some 60 words; more than one token a word
LENGTH = {"max_new_tokens": 80, "min_new_tokens": 40, "prompts": 2, "samples": 6}


class Remembered(SentenceEncoder):
    """Embeds each text once: all listeners and halves hear the same."""

    known: dict[str, np.ndarray]

    def layers(self, texts: Any) -> np.ndarray:
        """Layers (N, layers, D) of texts."""
        self.known = getattr(self, "known", {})
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known |= dict(zip(new, super().layers(new), strict=True))
        return np.stack([self.known[text] for text in texts])


@dataclass(frozen=True)
class Heard:
    """Texts and word rates (N, 10 · 3) of the 20 s from every volume on."""

    texts: np.ndarray
    rates: np.ndarray


@dataclass(frozen=True)
class Learned:
    """Read-outs of a half of the listeners outside a quarter."""

    readout: SentenceReadout
    rate: Ridge
    scale: np.ndarray
    weight: float

    def similarity(self, brain: np.ndarray, heard: Heard, at: np.ndarray) -> np.ndarray:
        """Of brains (N, B) with segments that begin at volumes (M,), kinds × (N, M)."""
        meaning = self.readout.predict(brain) @ self.readout.embed(heard.texts[at].tolist()).T
        said = self.rate.predict(by_volume(brain)).reshape(len(brain), -1)
        rate = cosines(said, heard.rates[at] / self.scale, self.rate)
        return np.stack([meaning, rate, meaning + self.weight * rate])


def main() -> None:
    """Read, fit, decode, report."""
    args = _arguments()
    people, excluded = read_radii(args.data, args.radius)
    volumes = {len(values) for values in people.values()}
    if len(people) < 4 or len(volumes) > 1:
        raise CohortError(
            f"alice: {args.data} must hold four listeners or more, equally long, got "
            f"{len(people)} of {sorted(volumes)} volumes."
        )
    if args.noise is not None:
        rng = np.random.default_rng(args.noise)
        people = {name: random_phases(values, rng) for name, values in people.items()}
    brains = [
        windows(filtered(v, read_motion(args.data, name, len(v)) if args.motion else None))
        for name, v in people.items()
    ]
    heard, encoder = hear(args.data, volumes.pop()), Remembered(default_bert()[0])
    metrics = {"listeners": len(brains), "excluded": excluded, "motion_removed": args.motion}
    metrics |= identify(np.stack(brains), heard, encoder, args)
    if args.llm:
        metrics |= write(np.stack(brains), heard, encoder, args)
    metrics["noise"] = args.noise is not None
    print(json.dumps(metrics, indent=2))
    if args.out:
        write_json(args.out, metrics)


def windows(values: np.ndarray) -> np.ndarray:
    """Responses to the 20 s from every volume on, (N, volumes · regions); 0 after the end."""
    longer = np.concatenate([values, np.zeros((RESPONSE.stop, values.shape[1]))])
    at = np.arange(len(values) - VOLUMES + 1)[:, None] + np.array(RESPONSE)
    return longer[at].reshape(len(at), -1)


def hear(folder: Path, volumes: int) -> Heard:
    """What is heard in the 20 s from every volume on."""
    words, first = read_story(folder), np.arange(volumes - VOLUMES + 1)
    texts = heard_between(words, first, first + VOLUMES)
    rates = word_rates(words, volumes)[first[:, None] + np.arange(VOLUMES)]
    return Heard(np.array([text or "." for text in texts]), rates.reshape(len(first), -1))


def quarters(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """First volumes of the segments that train and that are tested, of each quarter."""
    found = []
    edges = np.linspace(0, (count - 1) // VOLUMES + 1, PARTS + 1).astype(int) * VOLUMES
    start = np.arange(0, count, EVERY)
    # no response or word of one stretch is of another
    whole = start % STRETCH + RESPONSE.stop <= STRETCH
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        before = start + RESPONSE.stop + GUARD <= first
        after = start >= last + RESPONSE.stop - VOLUMES + GUARD
        found.append((start[whole & (before | after)], np.arange(first, last, VOLUMES)))
    return found


def by_volume(brain: np.ndarray) -> np.ndarray:
    """Responses to each volume of segments (N, B), one after the other, (N · 10, lags · regions)."""
    rows = brain.reshape(len(brain), len(RESPONSE), -1)
    lags = len(RESPONSE) - VOLUMES + 1
    return np.stack([rows[:, i : i + lags] for i in range(VOLUMES)], axis=1).reshape(
        len(brain) * VOLUMES, -1
    )


def cosines(said: np.ndarray, true: np.ndarray, rate: Ridge) -> np.ndarray:
    """Of rates (N, D) with others (M, D), less the mean."""
    mean = np.tile(rate.y_mean, VOLUMES)
    return unit_rows(said - mean) @ unit_rows(true - mean).T


def learn(brains: np.ndarray, heard: Heard, at: np.ndarray, encoder: SentenceEncoder) -> Learned:
    """Fit on segments of all these listeners (L, T, B), each a sample."""
    x, texts, groups = samples(brains, heard, at)
    readout = fit_sentence_readout(x, texts, groups=groups, encoder=encoder)
    scale = np.tile(heard.rates[at].reshape(-1, 3).std(axis=0), VOLUMES)
    y = np.tile(heard.rates[at] / scale, (len(brains), 1))
    volume, volume_groups = y.reshape(-1, 3), np.repeat(groups, VOLUMES).tolist()
    rate = fit_ridge(by_volume(x), volume, groups=volume_groups)
    meaning = readout.out_of_fold @ readout.vectors.T
    held = rate.out_of_fold - fold_means(volume, groups=volume_groups) + rate.y_mean
    held = cosines(held.reshape(len(y), -1), y, rate)
    weight = max(RATES, key=lambda w: two_way(meaning + w * held))
    return Learned(readout, rate, scale, weight)


def samples(brains: np.ndarray, heard: Heard, at: np.ndarray) -> tuple[np.ndarray, list, list]:
    """Brains, texts and stretches of the segments of all listeners."""
    flat = brains[:, at].reshape(-1, brains.shape[2])
    return flat, heard.texts[at].tolist() * len(brains), (at // STRETCH).tolist() * len(brains)


def identify(brains: np.ndarray, heard: Heard, encoder: SentenceEncoder, args: Any) -> dict:
    """Right of two by predicted embedding and word rate, over random halves of the listeners."""
    rng = np.random.default_rng(args.seed)
    found: dict[str, list] = {"single": [], "group": []}
    weights = []
    for _ in track(range(args.halves), "halves of the listeners"):
        order = rng.permutation(len(brains))
        middle = len(order) // 2
        for learners, tested in ((order[middle:], order[:middle]), (order[:middle], order[middle:])):
            wins: dict[str, list] = {"single": [], "group": []}
            for train, test in quarters(brains.shape[1]):
                model = learn(brains[learners], heard, train, encoder)
                weights.append(model.weight)
                unseen = brains[tested][:, test]
                each = [model.similarity(x, heard, test) for x in unseen]
                wins["single"].append(np.mean([won(s) for s in each], axis=0))
                wins["group"].append(won(model.similarity(unseen.mean(axis=0), heard, test)))
            for kind, parts in wins.items():
                found[kind].append(joined(parts))
    test = np.concatenate([test for _, test in quarters(brains.shape[1])])
    sizes = [len(test) for _, test in quarters(brains.shape[1])]
    part = np.repeat(np.arange(PARTS), sizes)
    block = [f"{p}-{(t - test[part == p][0]) // VOLUMES // BLOCK}" for p, t in zip(part, test)]
    partners = derangements(block, count=args.derangements, within=part.tolist(), seed=args.seed)
    metrics: dict[str, Any] = {"segments": len(test), "n_halves": 2 * args.halves}
    metrics["rate_weights"] = {str(w): weights.count(w) for w in RATES}
    at = np.arange(len(test))
    for kind, suffix in (("single", ""), ("group", "_group")):
        every = np.stack(found[kind])  # (halves, kinds, N, N)
        for number, name in enumerate(KINDS):
            mean, key = every[:, number].mean(axis=0), f"two_way_{name}{suffix}"
            own, null = mean[at, at], mean[partners, at].mean(axis=1)
            halves = every[:, number, at, at].mean(axis=1)
            metrics |= {
                key: float(own.mean()),
                f"{key}_ci": bootstrap_interval(own, blocks=block).as_list(),
                f"{key}_range": np.quantile(halves, [0.025, 0.975]).tolist(),
                f"{key}_chance": float(null.mean()),
                f"{key}_p": permutation_p(own.mean(), null),
            }
    return metrics


def won(similar: np.ndarray) -> np.ndarray:
    """Share of other segments less like each brain than each segment is, (kinds, N, N)."""
    own, others = similar[..., :, None], similar[..., None, :]
    wins = ((own > others) + 0.5 * (own == others)).sum(axis=-1)
    return (wins - 0.5) / (similar.shape[-1] - 1)


def joined(parts: list[np.ndarray]) -> np.ndarray:
    """Quarters (kinds, n, n) as one (kinds, N, N); NaN between quarters, which are not compared."""
    sizes = np.cumsum([0, *(part.shape[-1] for part in parts)])
    whole = np.full((len(KINDS), sizes[-1], sizes[-1]), np.nan)
    for part, first, last in zip(parts, sizes[:-1], sizes[1:], strict=True):
        whole[:, first:last, first:last] = part
    return whole


def write(brains: np.ndarray, heard: Heard, encoder: SentenceEncoder, args: Any) -> dict:
    """Texts of the mean of one random half, quarter by quarter, and their scores."""
    llm = load_llm(str(args.llm))
    order = np.random.default_rng(args.seed).permutation(len(brains))
    learners, tested = order[len(order) // 2 :], order[: len(order) // 2]
    folds, near, tests, seconds = [], [], [], 0.0
    for part, (train, at) in enumerate(quarters(brains.shape[1])):
        x, texts, groups = samples(brains[learners], heard, train)
        decoder = fit_sentence_decoder(
            x, texts, groups=groups, writer=LineWriter(*llm), encoder=encoder,
            writing=replace(WRITERS[args.decoder], **LENGTH), samples=args.samples, seed=args.seed,
        )  # fmt: skip
        # shots that do not overlap, each once
        rows = np.flatnonzero(train % VOLUMES == 0)
        kept = {name: getattr(decoder.readout, name)[rows] for name in ("vectors", "out_of_fold")}
        kept["texts"] = tuple(texts[row] for row in rows)
        decoder = replace(decoder, readout=replace(decoder.readout, **kept))
        passages = np.array([f"{part}-{i // BLOCK}" for i in range(len(at))])
        truth = heard.texts[at]
        brain = brains[tested][:, at].mean(axis=0)
        test = Sentences(brain, truth, passages, decoder.readout.embed(truth.tolist()))
        partners = derangements(passages.tolist(), count=args.derangements, seed=part)
        began = time.process_time()
        folds.append(Fold(**decoded(decoder, test, partners)))
        seconds += time.process_time() - began
        nearest = (decoder.read(brain) @ decoder.readout.vectors.T).argmax(axis=1)
        near.append(replace(folds[-1], said=[kept["texts"][i] for i in nearest]))
        tests.append(test)
        say(f"quarter {part + 1} of {PARTS} is written")
    every = Sentences(*(np.concatenate(v) for v in zip(*(vars(t).values() for t in tests))))
    copied = {**report_texts(every, near), **scores_of_text(every, near, llm)}
    names = [name for name in copied if name.startswith(("identification", "bleu1", "cosine"))]
    names += ["nll_fluency"]
    return {
        **report_texts(every, folds),
        **scores_of_text(every, folds, llm),
        **{f"{name}_nearest": copied[name] for name in names},
        "decoder": args.decoder,
        "cpu_s_a_segment": seconds / len(every.texts),
        "listeners_tested": len(tested),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of listeners and stim/")
    parser.add_argument(
        "--radius", nargs="+", default=["10mm", "6mm"], help="folders; default 10mm 6mm"
    )
    parser.add_argument("--llm", type=Path, help="folder of a pretrained language model")
    parser.add_argument("--decoder", choices=sorted(WRITERS), default="retrieve")
    parser.add_argument("--samples", type=int, default=128, help="texts written without a brain")
    parser.add_argument("--halves", type=int, default=10, help="random halves; both ways round")
    parser.add_argument("--derangements", type=int, default=999, help="for p; default 999")
    parser.add_argument("--motion", action="store_true", help="take motion parameters out")
    parser.add_argument("--noise", type=int, metavar="SEED", help="phase-randomised listeners")
    parser.add_argument("--seed", type=int, default=0, help="of halves and texts")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except FastbrainError as error:
        raise SystemExit(str(error)) from None

"""What a brain as a soft prompt of a pretrained language model says of sentences, on one fold.

    python benchmarks/systems/soft_prompt.py --data DIR --llm MODEL --run FOLDER [--fold 0]
        [--noise SEED] [--machine NAME]

`DIR` and folds are those of ``pereira_brainllm.py``, of which the decoder ``mlp`` is trained: a
soft prompt (BrainLLM) with steering. The second row is a mixture: the same times the evidence of a
sentence read-out. Training is kept in FOLDER, and goes on there where it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
from pereira_brainllm import COMPONENTS, SAMPLING, Sentences, read, regression
from pereira_data import matched_noise
from recording import Recorder

from fastbrain.brainllm import BrainLLM, BrainLLMConfig, BrainLLMDecoder
from fastbrain.brainllm.training import BrainTexts, brainllm_preset, train_brainllm
from fastbrain.decoding import MixtureBrains, MixtureDecoder, fit_mixture, fit_sentence_readout
from fastbrain.evaluation import (
    bleu,
    brain_use,
    fluency,
    identification_from_text,
    pairwise_score,
)
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.lm import load_llm
from fastbrain.lm.sentence_embeddings import SentenceEncoder
from fastbrain.stats import derangements, group_folds, needed_pairs

DERANGEMENTS = 199


class Windows:
    """Components of predicted sentence embeddings, which the soft prompt reads as one volume."""

    def __init__(self, train: Sentences) -> None:
        self.ridge, _ = regression(train)
        self.mean = train.embedding.mean(axis=0)
        centred = train.embedding - self.mean
        self.basis = np.linalg.svd(centred, full_matrices=False)[2][:COMPONENTS].T
        self.scale = ((self.ridge.out_of_fold - self.mean) @ self.basis).std(axis=0).mean()

    def of(self, embedding: np.ndarray) -> np.ndarray:
        """Embeddings (N, D) as windows (N, 1, k)."""
        found = ((embedding - self.mean) @ self.basis / self.scale)[:, None]
        return found.astype(np.float32)


def main() -> None:
    """Train or go on, score and write with both decoders, keep a row of each."""
    args = _arguments()
    torch.manual_seed(0)
    data, parts = read(args.data, None)
    if args.noise is not None:
        data.brain[:] = matched_noise(data.brain, np.random.default_rng(args.noise))
    train, test = data[parts != args.fold], data[parts == args.fold]
    llm = load_llm(args.llm)
    windows = Windows(train)
    left = group_folds(train.passages, 8, order="appearance") == 7
    learn, watch = np.flatnonzero(~left), np.flatnonzero(left)
    seen = windows.of(windows.ridge.out_of_fold)
    base = soft_prompt(train, seen, (learn, watch), llm, args.run)
    readout = fit_sentence_readout(
        train.brain[learn],
        train.texts[learn].tolist(),
        groups=train.passages[learn].tolist(),
        encoder=SentenceEncoder(default_bert()[0]),
    )
    mixed = fit_mixture(
        base,
        readout,
        MixtureBrains(seen[watch], train.brain[watch]),
        train.texts[watch].tolist(),
        groups=train.passages[watch].tolist(),
    )
    volumes = windows.of(windows.ridge.predict(test.brain))
    head = {
        "case": f"fold {args.fold}" + ("" if args.noise is None else f", noise {args.noise}"),
        "llm": Path(args.llm).name,
        "n_train": len(train.texts),
    }
    record = Recorder(args.machine).row
    record(op="soft_prompt", decoder="soft prompt", **head, **scores(base, volumes, test, llm))
    both = scores(mixed, MixtureBrains(volumes, test.brain), test, llm)
    record(op="soft_prompt", decoder="mixture", **head, **both, weights=mixed.facts())


def soft_prompt(
    train: Sentences, seen: np.ndarray, rows: tuple[np.ndarray, np.ndarray], llm: Any, run: Path
) -> BrainLLMDecoder:
    """Train BrainLLM as published, with steering, on some rows and watch it on others."""
    config = BrainLLMConfig(COMPONENTS, frames=1, decoder="mlp", steering=True)
    model = BrainLLM(config, llm=llm[0], text_tokenizer=llm[1])
    texts = [
        BrainTexts(
            tuple(f"sentence {i}" for i in part),
            torch.from_numpy(seen[part]),
            tuple(train.texts[part]),
        )
        for part in rows
    ]
    train_brainllm(model, *texts, brainllm_preset(), run_dir=run, resume=run.exists())
    return BrainLLMDecoder(model, sampling=SAMPLING, max_text_tokens=128)


def scores(
    decoder: BrainLLMDecoder | MixtureDecoder, brains: Any, test: Sentences, llm: Any
) -> dict[str, Any]:
    """Teacher-forced preference, and what the written text identifies."""
    truth, blocks = test.texts.tolist(), test.passages.tolist()
    partners = derangements(blocks, count=DERANGEMENTS, seed=0)
    pairs = needed_pairs(partners)
    alone = np.stack([np.zeros(len(truth), dtype=np.int64), np.arange(len(truth))], axis=1)
    rows = decoder.read(brains)
    true, deranged = pairs.gather(decoder.score(rows, truth, pairs.index))
    nothing = decoder.score(decoder.read_nothing(), truth, alone)
    preferred = pairwise_score(true, deranged, blocks=blocks)
    said = decoder.write(rows)
    lower, read_ = [text.lower() for text in said], [text.lower() for text in truth]
    others = [bleu([lower[i] for i in row], read_, order=1).value for row in partners]
    own = bleu(lower, read_, order=1).value
    found = identification_from_text(said, truth, blocks)
    used = brain_use(said, truth, partners=partners, blocks=blocks)
    row: dict[str, Any] = {
        "n": len(truth),
        "pairwise": preferred.value,
        "pairwise_ci": preferred.interval.as_list(),
        "pairwise_p": preferred.p,
        "nll": float(true.mean()),
        "nll_deranged": float(deranged.mean()),
        "nll_nobrain": float(nothing.mean()),
        "bleu1": own,
        "bleu1_permuted": float(np.mean(others)),
        "bleu1_p": (1 + sum(other >= own for other in others)) / (1 + len(others)),
        "nll_fluency": fluency(said, judge=llm).nll,
        "distinct_texts": len(set(said)),
        "brain_ignored": used.ignored,
        "brain_use": used.message,
    }
    for name in ("two_way", "top1"):
        score = found.score(f"meaning_{name}")
        row |= {name: score.value, f"{name}_ci": score.interval.as_list(), f"{name}_p": score.p}
    return row


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sentences")
    parser.add_argument("--llm", required=True, help="a pretrained causal language model")
    parser.add_argument("--run", type=Path, required=True, help="folder of the training")
    parser.add_argument("--fold", type=int, default=0, help="0, 1 or 2: which passages are tested")
    parser.add_argument("--noise", type=int, metavar="SEED", help="noise instead of every image")
    parser.add_argument("--machine", help="folder below benchmarks/results; default: only print")
    return parser.parse_args()


if __name__ == "__main__":
    main()

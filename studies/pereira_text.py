"""Sentences written by a pretrained model, and their scores, for ``pereira_brainllm.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastbrain._progress import say
from fastbrain.decoding import LineWriter, SentenceDecoder, fit_sentence_decoder
from fastbrain.decoding.sentences import WRITING
from fastbrain.evaluation import (
    NearestTextUnigram,
    brain_use,
    fluency,
    identification_from_text,
    retrieval_scores,
)
from fastbrain.evaluation.metrics.bertscore import default_bert
from fastbrain.evaluation.metrics.text_similarity import meaning_similarity
from fastbrain.lm.sentence_embeddings import SentenceEncoder
from fastbrain.stats import derangements, needed_pairs


def decode_sentences(train: Any, test: Any, args: Any, llm: Any, *, seed: int) -> dict:
    """Fit a decoder of whole sentences on some passages, decode others."""
    decoder = fit_sentence_decoder(
        train.brain,
        train.texts.tolist(),
        groups=train.passages.tolist(),
        writer=LineWriter(*llm),
        encoder=SentenceEncoder(default_bert()[0]),
        writing=replace(WRITING[args.decoder], seed=args.seed),
        seed=args.seed,
        kept=args.kept,
    )
    partners = derangements(test.passages, count=args.derangements, seed=seed)
    return decoded(decoder, test, partners)


def decoded(decoder: SentenceDecoder, test: Any, partners: np.ndarray) -> dict:
    """Scores of unseen texts by their own and other brains (R, N), and what is written of them."""
    evidence, readout = decoder.evidence, decoder.readout
    say(f"evidence: {evidence.weight:g} nats a cosine, {evidence.effective:.0f} effective texts")
    truth = test.texts.tolist()
    pairs = needed_pairs(partners)
    alone = np.stack([np.zeros(len(truth), dtype=np.int64), np.arange(len(truth))], axis=1)
    predicted = decoder.read(test.brain)
    true, deranged = pairs.gather(decoder.score(predicted, truth, pairs.index))
    baseline = NearestTextUnigram(
        readout.vectors, list(readout.texts), words=decoder.writer.tokenizer.tokenize
    )
    bag = baseline.score(baseline.read(predicted), truth, pairs.index)
    unigram, unigram_deranged = pairs.gather(bag)
    return {
        "true": true,
        "deranged": deranged,
        "nothing": decoder.score(decoder.read_nothing(), truth, alone),
        "unigram": unigram,
        "unigram_deranged": unigram_deranged,
        "found": retrieval_scores(predicted @ readout.embed(truth).T)[0],
        "said": decoder.write(predicted),
        "partners": partners,
        "penalty": readout.ridge.penalty,
        "steering": {},
        "train_texts": list(readout.texts),
    }


def scores_of_text(test: Any, folds: Sequence[Any], llm: Any) -> dict:
    """Identification, similarity and fluency of what all folds wrote; candidates are of a fold."""
    said = [text for fold in folds for text in fold.said]
    truth, passages = test.texts.tolist(), test.passages.tolist()
    number = np.repeat(np.arange(len(folds)), [len(fold.said) for fold in folds])
    metrics: dict = {}
    for by, suffix in (("meaning", "text"), ("words", "text_words")):
        found = identification_from_text(said, truth, passages, by=by, groups=number.tolist())
        for name, key in (("two_way", "2way"), ("top1", "top1")):
            score = found.score(f"{by}_{name}")
            metrics |= {
                f"identification_{key}_{suffix}": score.value,
                f"identification_{key}_{suffix}_chance": score.chance,
                f"identification_{key}_{suffix}_ci": score.interval.as_list(),
                f"identification_{key}_{suffix}_p": score.p,
            }
    similarity, _ = meaning_similarity(said, truth)
    starts = np.cumsum([0, *(len(fold.said) for fold in folds[:-1])])
    partners = np.concatenate(
        [fold.partners[:50] + start for fold, start in zip(folds, starts, strict=True)], axis=1
    )
    rows = np.arange(len(said))
    fluent = fluency(said, judge=llm)
    # of the training sentences of each fold: those of another fold are tested here
    copied = [fluency(fold.said, train_texts=fold.train_texts).copied or 0.0 for fold in folds]
    used = brain_use(said, truth, partners=partners, blocks=passages)
    return metrics | {
        "cosine": float(similarity[rows, rows].mean()),
        "cosine_permuted": float(similarity[partners, rows].mean()),
        "nll_fluency": fluent.nll,
        "copied_4grams": float(np.average(copied, weights=[len(fold.said) for fold in folds])),
        "distinct_texts": len(set(said)),
        "brain_ignored": used.ignored,
        "brain_use": used.message,
    }

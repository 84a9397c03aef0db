"""What a sentence decoder refuses before it works, and which kept sentences it takes again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.smol_twin import smol_llm, smol_tokenizer
from helpers.word_counts import SENTENCES, WordCounts, brains_of

from fastbrain.decoding import LineWriter, SentenceWriting, fit_sentence_decoder
from fastbrain.errors import DiskError, InputError

TEXTS = SENTENCES[::3]
GROUPS = [f"run-{i % 5}" for i in range(len(TEXTS))]
PAIRS = np.array([[0, 0], [1, 1]])


def writer(seed=0):
    tokenizer = smol_tokenizer()
    return LineWriter(smol_llm(tokenizer, seed=seed), tokenizer)


@pytest.fixture(scope="module")
def decoder():
    return fit_sentence_decoder(
        brains_of(TEXTS, 0.05),
        TEXTS,
        groups=GROUPS,
        writer=writer(),
        encoder=WordCounts(),
        samples=32,
        writing=SentenceWriting(shots=2, prompts=1, samples=2, max_new_tokens=6),
    )


@pytest.fixture(scope="module")
def read(decoder):
    return decoder.read(brains_of(TEXTS[:2], 0.05, seed=1))


def holed(rows, value):
    rows = rows.copy()
    rows[1, 3] = value
    return rows


WRONG = [
    (lambda rows: holed(rows, np.nan), "finite, got NaN or infinity in row 1"),
    (lambda rows: holed(rows, np.inf), "finite, got NaN or infinity in row 1"),
    (lambda rows: rows[:, :-1], "prefixes must be numbers"),
    (lambda rows: rows[0], "prefixes must be numbers"),
    (lambda rows: rows.astype(str), "prefixes must be numbers"),
    (lambda rows: [[1.0], [1.0, 2.0]], "prefixes must be numbers"),
    (lambda rows: torch.from_numpy(rows).requires_grad_(), "prefixes must be numbers"),
    (lambda rows: None, "prefixes must be numbers"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_other_than_predictions_is_refused(decoder, read, change, said):
    with pytest.raises(InputError, match=f"SentenceDecoder.write: .*{said}"):
        decoder.write(change(read))
    with pytest.raises(InputError, match=f"SentenceDecoder.score: .*{said}"):
        decoder.score(change(read), TEXTS[:2], PAIRS)


def test_tensors_and_lists_are_read_as_arrays(decoder, read):
    wanted = decoder.score(read, TEXTS[:2], PAIRS)
    for same in (torch.from_numpy(read), read.tolist()):
        np.testing.assert_array_equal(decoder.score(same, np.array(TEXTS[:2]), PAIRS), wanted)
    assert decoder.write(torch.from_numpy(read[:1])) == decoder.write(read[:1])
    assert decoder.write(read[:0]) == []


@pytest.mark.parametrize("texts", ["a man", ["a man", None], ["a man", "half \ud83d"], 3])
def test_other_than_texts_is_refused(decoder, read, texts):
    with pytest.raises(InputError, match=r"SentenceDecoder.score: texts must be"):
        decoder.score(read, texts, PAIRS)


@pytest.mark.parametrize(
    "pairs",
    [PAIRS + 0.5, PAIRS.astype(float), PAIRS > 0, PAIRS[0], PAIRS.reshape(1, 2, 2), [[0], [0, 1]]],
)
def test_other_than_pairs_is_refused(decoder, read, pairs):
    with pytest.raises(InputError, match=r"SentenceDecoder.score: pairs must be"):
        decoder.score(read, TEXTS[:2], pairs)


def test_sentences_of_other_parts_are_not_taken_again(decoder, read, tmp_path):
    # an equal model, which this test may change
    keeping = replace(decoder, writer=writer(), kept=tmp_path)
    keeping.write(read[:1])
    readout = decoder.readout
    others = [
        replace(keeping, writer=writer(seed=1)),
        replace(keeping, readout=replace(readout, encoder=WordCounts(("man", "dog")))),
        replace(keeping, readout=replace(readout, vectors=readout.vectors[::-1])),
    ]
    others[1].readout.encoder.layers = readout.encoder.layers  # of the same width
    for number, other in enumerate(others, start=2):
        assert other.write(read[:1]) == replace(other, kept=None).write(read[:1])
        assert len(list(tmp_path.iterdir())) == number
    keeping.writer.llm.to(torch.bfloat16)
    keeping.write(read[:1])
    assert len(list(tmp_path.iterdir())) == 5
    replace(decoder, kept=tmp_path).write(read[:1])
    assert len(list(tmp_path.iterdir())) == 5


def test_digests_are_computed_once_and_only_to_keep(decoder, read, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(LineWriter, "digest", lambda self: asked.append(self) or "digest")
    decoder.write(read[:1])
    assert not asked
    keeping = replace(decoder, kept=tmp_path)
    keeping.write(read[:1])
    keeping.write(read)
    assert len(asked) == 1


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_is_refused_before_the_fit(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("")
    encoder = WordCounts()
    monkeypatch.setattr(encoder, "layers", lambda texts: pytest.fail("the fit began"))
    with pytest.raises(DiskError, match=r"fit_sentence_decoder: .* must be a folder"):
        fit_sentence_decoder(
            brains_of(TEXTS, 0.05), TEXTS, groups=GROUPS, writer=writer(), encoder=encoder,
            samples=32, kept=tmp_path / place,
        )  # fmt: skip

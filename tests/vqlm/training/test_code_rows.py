"""Rows of codes and of words, blended for training, and their losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastbrain.errors import CohortError, ConfigError, InputError, SplitError
from fastbrain.lm import CodeVocabulary, DigitTokens, extend_vocabulary
from fastbrain.lm.number_lines import extend_number_lines
from fastbrain.lm.word_lm import word_tokenizer
from fastbrain.vqlm import Question
from fastbrain.vqlm.training.answer_config import NumberConfig, WordsConfig
from fastbrain.vqlm.training.code_rows import CodeRows, RowLoader
from fastbrain.vqlm.training.config import VQLMConfig
from fastbrain.vqlm.training.people import part_people

LINES, LEVELS, STEPS = 3, 601, 4
AGES = {"a": 20.0, "b": 60.0, "c": 33.0}
VALUES = {"a": torch.tensor([-2.0, 0, 1]), "b": torch.tensor([2.0, 1, -1]), "c": torch.zeros(3)}
GROUPS = {"a": "young", "b": "old", "c": "young"}


@pytest.fixture(scope="module")
def world():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = word_tokenizer(["how old is this person ?", "0 1 2 3 4 5 6 7 8 9", "young old"])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    llm = LlamaForCausalLM(config)
    vocabulary = extend_vocabulary(llm, tokenizer, 7)
    lines = extend_number_lines(llm, tokenizer, LINES, LEVELS)
    return llm, tokenizer, vocabulary, lines


def question(world, *, words=True, digits=True):
    _, tokenizer, vocabulary, lines = world
    found = DigitTokens.find(tokenizer, places=2) if digits else None
    return Question(
        tokenizer, vocabulary, found, "how old is this person ?", lines if words else None
    )


def loader(world, *, words=True, codes=True, digits=True, shuffle=True, **reading):
    series = {p: torch.randint(7, (2, 9), generator=torch.Generator().manual_seed(1)) for p in AGES}
    return RowLoader(
        tuple(AGES),
        series if codes else {},
        VALUES if words else {},
        AGES if digits else GROUPS,
        question(world, words=words, digits=digits),
        steps=STEPS,
        batch_size=2,
        draws=2,
        reading=WordsConfig(levels=LEVELS, copies=3, **reading),
        shuffle=shuffle,
    )


def values_of(row, lines):
    """Values of the words of a row, read from its tokens."""
    tokens = row.ids[:LINES] - lines.first - LEVELS * torch.arange(LINES)
    return 6 * tokens / (LEVELS - 1) - 3


def test_a_blend_lies_on_the_line_between_two_people_with_its_number(world):
    lines = world[3]
    shares = []
    for batch in loader(world, jitter=0.0):
        assert len(batch.rows) == 2
        assert len(batch.asked) == len(batch.numbers) == 6
        for row, number in zip(batch.asked, batch.numbers.tolist(), strict=True):
            found = values_of(row, lines)
            gaps = []
            for one in AGES:
                for other in AGES:
                    span = AGES[one] - AGES[other]
                    share = (number - AGES[other]) / span if span else 1.0
                    blend = share * VALUES[one] + (1 - share) * VALUES[other]
                    gaps.append((float((found - blend).abs().max()), share))
            gap, share = min(gaps)
            assert gap <= 0.01
            shares.append(share)
    assert len({round(share, 3) for share in shares}) > 10


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_without_blends_words_are_those_of_the_person_plus_noise(world, jitter):
    lines, gaps = world[3], []
    for _ in range(6):
        for batch in loader(world, blend=False, jitter=jitter):
            for row, number in zip(batch.asked, batch.numbers.tolist(), strict=True):
                (person,) = [p for p, age in AGES.items() if age == number]
                gaps.append(values_of(row, lines) - VALUES[person])
    found = float(torch.stack(gaps).std(correction=0))
    assert found == pytest.approx(jitter, rel=0.3, abs=0.01)


def test_people_who_choose_epochs_are_read_as_they_are(world):
    lines, batches = world[3], list(loader(world, shuffle=False))
    numbers = torch.cat([batch.numbers for batch in batches]).tolist()
    assert numbers == [20, 20, 60, 60, 33, 33]
    for batch in batches:
        for row, number in zip(batch.asked, batch.numbers.tolist(), strict=True):
            (person,) = [p for p, age in AGES.items() if age == number]
            torch.testing.assert_close(
                values_of(row, lines), VALUES[person].float(), atol=0.01, rtol=0
            )


def test_an_epoch_that_was_cut_goes_on_with_the_same_rows(world):
    whole, cut, resumed = (loader(world) for _ in range(3))
    wanted = [batch for _ in range(2) for batch in whole]
    state = next(iter(cut)) and cut.state_dict()
    resumed.load_state_dict(state)
    found = [batch for _ in range(2) for batch in resumed]
    for one, other in zip(wanted[1:], found, strict=True):
        assert one.trial_ids == other.trial_ids
        assert torch.equal(one.numbers, other.numbers)
        for row, same in zip((*one.rows, *one.asked), (*other.rows, *other.asked), strict=True):
            assert torch.equal(row.ids, same.ids)


@pytest.mark.parametrize(
    ("kind", "terms"),
    [
        ({}, {"code_loss", "number_loss", "mean_loss", "answer_loss"}),
        ({"codes": False}, {"number_loss", "mean_loss", "answer_loss"}),
        ({"words": False}, {"code_loss", "number_loss", "mean_loss", "answer_loss"}),
        ({"digits": False}, {"code_loss", "answer_loss"}),
        ({"digits": False, "words": False}, {"code_loss", "answer_loss"}),
        ({"digits": False, "codes": False}, {"code_loss", "answer_loss"}),
    ],
)
def test_the_terms_of_the_loss(world, kind, terms):
    kind = {"words": True, "digits": True, "codes": True, **kind}
    asks = question(world, words=kind["words"], digits=kind["digits"])
    numbers = NumberConfig(sd=3.0, mean_weight=0.5)
    objective = CodeRows(world[0], asks, code_weight=0.1, numbers=numbers, variance=100.0)
    (batch, *_) = loader(world, **kind)
    found = objective(batch)
    assert set(found) == {"loss", *terms}
    loss = found["answer_loss"] + 0.1 * found.get("code_loss", torch.zeros(()))
    torch.testing.assert_close(found["loss"], loss)
    assert float(found["answer_loss"].detach()) > 0
    if "number_loss" in terms:
        wanted = found["number_loss"] + 0.5 * found["mean_loss"]
        torch.testing.assert_close(found["answer_loss"], wanted)
    assert (float(found.get("code_loss", torch.zeros(())).detach()) > 0) == kind["codes"]


def test_codes_alone_are_asked_about_as_before(world):
    batch = next(iter(loader(world, words=False, shuffle=False)))
    vocabulary = world[2]
    assert len(batch.asked) == 2
    for row in batch.asked:
        assert int((vocabulary.codes_of(row.ids) >= 0).sum()) == 2 * STEPS


def test_a_vocabulary_without_codes_holds_text_alone():
    assert CodeVocabulary.empty().codes_of(torch.arange(5)).tolist() == [-1] * 5


def study(people=12, parts=None):
    from fastbrain.data import ConnectomeStudy

    names = [f"p{i:02d}" for i in range(people)]
    rows = np.random.default_rng(0).uniform(-1, 1, (people, 3))
    table = {p: {"age": str(20 + i)} for i, p in enumerate(names)}
    for i, row in enumerate(table.values()):
        row["family"] = f"f{i // 2}"
        if parts is not None:
            row["part"] = parts[i]
    return ConnectomeStudy(dict(zip(names, rows, strict=True)), table, ("x", "y", "z"))


def test_a_column_names_the_parts():
    whole = ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    names = list(study().table)
    found = part_people(study(parts=whole), VQLMConfig(parts="part"))
    assert found == {"train": names[:4], "val": names[4:8], "test": names[8:]}
    # without validation people, whole families of the training part become some
    twenty = study(20, ["train"] * 14 + ["test"] * 6)
    some = part_people(twenty, VQLMConfig(parts="part", val_part=0.3))
    assert [len(some[part]) for part in ("train", "val", "test")] == [10, 4, 6]
    assert sorted(some["train"] + some["val"]) == list(study(20).table)[:14]
    pairs = {int(p[1:]) // 2 for p in some["val"]}
    assert some["val"] == [f"p{2 * i + k:02d}" for i in sorted(pairs) for k in (0, 1)]


def test_bad_options_are_refused(world):
    for wrong in ({"levels": 1}, {"copies": 0}, {"jitter": -1.0}, {"components": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            WordsConfig(**wrong)
    for wrong in ({"sd": -1.0}, {"mean_weight": -0.1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            NumberConfig(**wrong)
    with pytest.raises(SplitError, match="family in one part"):
        part_people(study(parts=["train", "test"] * 6), VQLMConfig(parts="part"))
    with pytest.raises(CohortError, match="one of train, val, test"):
        part_people(study(parts=["train"] * 11 + ["dev"]), VQLMConfig(parts="part"))
    with pytest.raises(InputError, match="must have 4 time steps"):
        RowLoader(
            ("a",),
            {"a": torch.zeros(2, 3, dtype=torch.int64)},
            {},
            AGES,
            question(world),
            steps=4,
            batch_size=1,
            draws=1,
            reading=WordsConfig(),
        )

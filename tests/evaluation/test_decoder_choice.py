"""Choice of the decoder of an evaluation: options, and runs that it is impossible for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.smol_twin import smol_llm, smol_tokenizer

from fastbrain.decoding import SentenceWriting
from fastbrain.errors import ConfigError, DiskError, InputError
from fastbrain.evaluation.decoder_choice import DecoderChoice, check_choice
from fastbrain.lm.sentence_embeddings import SentenceEncoder


@pytest.fixture(scope="module")
def smol():
    tokenizer = smol_tokenizer()
    return smol_llm(tokenizer), tokenizer


def check(choice, data, llm, **changed):
    """Check with one question and an untuned model, unless changed."""
    facts = {"questions": ["what ?"] * 3, "tuned": False, "function": "evaluate", **changed}
    check_choice(choice, data, llm=llm[0], tokenizer=llm[1], **facts)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "bag"},
        {"name": "mixture", "llm": "smollm2"},
        {"llm": "smollm2"},
        {"encoder": "minilm"},
        {"name": "retrieve", "samples": 0},
    ],
)
def test_options_of_another_decoder_are_refused(options):
    with pytest.raises(ConfigError, match="DecoderChoice: "):
        DecoderChoice(**options)


@pytest.mark.parametrize("name", ["soft-prompt", "mixture", "retrieve", "edit"])
def test_possible_choices_pass(name, store, smol):
    check(DecoderChoice(name), store, smol)


def test_impossible_choices_say_what_to_do(store, smol, language):
    retrieve, mixture = DecoderChoice("retrieve"), DecoderChoice("mixture")
    closed = replace(store, split=replace(store.split, closed_set=True))
    first = store.by_id[store.split.train[0]].run_id
    own = tuple(t for t in store.split.train if store.by_id[t].run_id == first)
    one_run = replace(store, split=replace(store.split, train=own))
    no_val = replace(store, split=replace(store.split, val=()))
    cases = [
        (retrieve, store, smol, {"questions": ["who ?", "what ?"]}, "one question"),
        (retrieve, one_run, smol, {}, "two training runs"),
        (retrieve, closed, smol, {}, "Use soft-prompt or mixture"),
        (retrieve, store, smol, {"tuned": True}, "--llm MODEL"),
        (retrieve, store, language, {}, "token for a line break"),
        (replace(retrieve, llm="no/such/model/here"), store, smol, {}, "model must be"),
        (replace(mixture, encoder="no/such/model/here"), store, smol, {}, "model must be"),
        (mixture, no_val, smol, {}, "validation part"),
    ]
    for choice, data, llm, changed, said in cases:
        with pytest.raises(InputError, match=f"evaluate: .*{said}"):
            check(choice, data, llm, **changed)
    # what a mixture can, and the run as it was trained, whatever it is
    check(mixture, closed, language, tuned=True)
    check(DecoderChoice(), one_run, language, questions=["who ?", "what ?"], tuned=True)


def test_a_named_language_model_is_checked_without_its_weights(store, smol, language, tmp_path):
    for name, (llm, tokenizer) in (("plain", language), ("smol", smol)):
        llm.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        (tmp_path / name / "model.safetensors").write_text("not read")
    check(DecoderChoice("retrieve", llm=str(tmp_path / "smol")), store, smol)
    with pytest.raises(InputError, match=r"token for a line break, got '.*plain'"):
        check(DecoderChoice("retrieve", llm=str(tmp_path / "plain")), store, smol)


def test_what_editing_needs_is_missed_early(store, smol, monkeypatch):
    monkeypatch.setattr(SentenceEncoder, "single_tokens", lambda self, words: [None] * len(words))
    check(DecoderChoice("edit", writing=SentenceWriting(rounds=0)), store, smol)
    with pytest.raises(InputError, match="words as tokens that begin with a space"):
        check(DecoderChoice("edit"), store, smol)
    monkeypatch.setattr(type(smol[1]), "is_fast", False)
    with pytest.raises(InputError, match="place of each token"):
        check(DecoderChoice("edit"), store, smol)


@pytest.mark.parametrize("option", ["kept", "saved"])
def test_folders_that_cannot_be_are_missed_early(store, smol, tmp_path, option):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="must be a folder, got"):
        check(DecoderChoice("retrieve", **{option: tmp_path / "file" / "below"}), store, smol)
    check(DecoderChoice("retrieve", **{option: tmp_path / "new"}), store, smol)
    assert not (tmp_path / "new").exists()

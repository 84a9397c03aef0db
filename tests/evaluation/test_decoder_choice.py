"""Choice of the decoder of an evaluation: options, and runs that it is impossible for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.smol_twin import smol_llm, smol_tokenizer

from fastbrain.errors import ConfigError, FastbrainError, InputError
from fastbrain.evaluation.decoder_choice import DecoderChoice, check_choice


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
        with pytest.raises(InputError, match=said) as error:
            check(choice, data, llm, **changed)
        assert isinstance(error.value, FastbrainError)
        assert "evaluate: " in str(error.value)
    # what a mixture can, and the run as it was trained, whatever it is
    check(mixture, closed, language, tuned=True)
    check(DecoderChoice(), one_run, language, questions=["who ?", "what ?"], tuned=True)

"""Texts of many windows by the decode engine are those of ``generate``."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from engine_models import EOS, PAD, VOCABULARY, engine_model, some_embeds

from fastbrain.decoding import DecodeEngine, Sampling
from fastbrain.decoding.texts import choose_engine, write_texts
from fastbrain.lm.shared_prompt import SharedPrompt

CASES = {
    "greedy": Sampling(max_new_tokens=9),
    "penalty": Sampling(max_new_tokens=9, min_new_tokens=3, repetition_penalty=1.5),
    "beam": Sampling("beam", beams=3, max_new_tokens=9, length_penalty=0.5),
}
TOKENIZER = SimpleNamespace(
    pad_token_id=PAD,
    eos_token_id=EOS,
    decode=lambda ids, **_: " ".join(map(str, ids)),
    get_vocab=dict,
    all_special_ids=[EOS],
)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
def test_the_engine_writes_the_texts_of_generate(kind, case):
    llm, count = engine_model(kind), 11  # more rows than the engine takes at once
    embeds, generator = some_embeds(count, 7), torch.Generator().manual_seed(2)
    mask = torch.arange(7) >= torch.randint(4, (count, 1), generator=generator)
    bias = torch.randn(count, VOCABULARY, generator=generator)
    after = SharedPrompt(llm, torch.tensor([3, 9, 4]))
    for options in ({}, {"attention_mask": mask.long()}, {"logit_bias": bias, "after": after}):
        found, expected = (
            write_texts(llm, TOKENIZER, embeds, sampling=CASES[case], engine=engine, **options)
            for engine in (True, False)
        )
        assert found == expected
        assert len(set(found)) > 1


def test_the_engine_writes_where_it_can(capsys):
    llm = engine_model("llama")
    assert choose_engine(llm, None, False) == (False, {"texts_by": "generate"})
    assert choose_engine(llm, CASES["beam"], True) == (True, {"texts_by": "decode engine"})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("why", ["model", "sample"])
def test_a_note_and_the_record_say_why_it_does_not(why, capsys, monkeypatch):
    llm, sampling, reason = engine_model("llama"), Sampling("sample"), "a seed stands for"
    if why == "model":
        monkeypatch.setattr(DecodeEngine, "can_run", lambda llm: "it is not of a kind")
        sampling, reason = None, "it is not of a kind"
    chosen, facts = choose_engine(llm, sampling, True)
    assert not chosen
    assert facts["texts_by"] == "generate"
    assert reason in facts["texts_by_reason"]
    noted = f"note: texts are written without the decode engine: {facts['texts_by_reason']}"
    assert noted in capsys.readouterr().err

"""Sentences under the alternative layouts, and the three precisions, of a tiny twin of SmolLM2."""

from __future__ import annotations

import json

import pytest
import torch
from smol_twin import smol_folder, smol_llm, smol_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from fastbrain import cli
from fastbrain.errors import InputError
from fastbrain.lm.layout_nll import layout_nll
from fastbrain.lm.precision_times import WAYS, precision_times

FP32 = 1e-5  # nats a token: batches sum in another order
TEXTS = ["The man paints.", "A dog looks on.", "It is a ball.", "The child throws a box."]


@pytest.fixture(scope="module")
def tokenizer():
    return smol_tokenizer()


@pytest.fixture(scope="module")
def llm(tokenizer):
    return smol_llm(tokenizer)


def nats(llm, tokenizer, before, texts):
    total = tokens = 0
    for text in texts:
        own = tokenizer.encode(text)
        ids = torch.tensor([[*tokenizer.encode(before), *own]])
        with torch.no_grad():
            logits = llm(ids).logits[0, -len(own) - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, ids[0, -len(own) :], reduction="sum")
        tokens += len(own)
    return float(total / tokens)


def test_each_layout_is_the_sequence_that_it_says(llm, tokenizer):
    found = layout_nll(llm, tokenizer, TEXTS, shots=2)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Write a sentence."}],
        tokenize=False,
        add_generation_prompt=True,
    )
    before = {
        "bos": ("<|im_start|>", " "),
        "document": ("<|endoftext|>", ""),
        "chat": (chat, ""),
        "2 shots": (f"<|endoftext|>{TEXTS[0]}\n{TEXTS[1]}\n", ""),
    }
    assert list(found) == list(before)
    for name, (text, space) in before.items():
        expected = nats(llm, tokenizer, text, [space + t for t in TEXTS[2:]])
        assert found[name] == pytest.approx(expected, abs=FP32)


def test_what_cannot_be_measured_says_why(llm):
    found = layout_nll(llm, smol_tokenizer(template=None), TEXTS[:1])
    assert "must have a chat template" in found["chat"]
    assert found["4 shots"] == "needs more than 4 sentences, got 1"
    assert found["document"] > 0
    with pytest.raises(InputError, match="at least one with words"):
        layout_nll(llm, smol_tokenizer(), [" "])


def test_every_way_is_timed(tokenizer):
    llm = smol_llm(tokenizer)
    found = precision_times(llm, rows=2, tokens=5, rounds=1)
    assert tuple(found) == WAYS
    assert all(one[work] > 0 for one in found.values() for work in ("forward", "step"))
    assert llm.dtype == torch.bfloat16


def test_a_short_context_is_timed_within_it(tokenizer):
    llm = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=8, n_embd=8, n_layer=1, n_head=1))
    found = precision_times(llm.eval(), rows=2, rounds=1)
    assert all(one["step"] > 0 for one in found.values())
    with pytest.raises(InputError, match="a context of at least 9 tokens, got 8"):
        precision_times(llm, rows=2, rounds=7)


def test_a_sentence_beyond_the_context_has_no_likelihood(llm, tokenizer):
    found = layout_nll(llm, tokenizer, ["A dog. " * 300], shots=1)
    assert "fit into the context of 512 tokens" in found["document"]


def test_doctor_describes_a_language_model(tmp_path, capsys):
    folder = smol_folder(tmp_path / "twin")
    (tmp_path / "texts.txt").write_text("\n".join([*TEXTS, "", "A house."]))
    command = ["doctor", "--llm", str(folder), "--texts", str(tmp_path / "texts.txt")]
    assert cli.main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layouts"]["document"]["before"] == "<|endoftext|>"
    assert found["end_tokens"] == ["<|im_end|>", "<|endoftext|>"]
    assert found["sentences"] == 1
    assert set(found["nll"]) == {"bos", "document", "chat", "4 shots"}
    assert set(found["seconds"]) == set(WAYS) >= set(found["fastest"].values())
    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    assert "'<|endoftext|>' | prompt | text (the separator of documents" in shown
    assert "use document" in shown
    lines = {line.split()[0]: line for line in shown.split("Nats per token")[1].splitlines()[1:6]}
    assert list(lines) == ["bos", "document", "chat", "none", "4"]
    assert "request 'Write a sentence.'" in lines["chat"]
    assert "not scored: without a prompt" in lines["none"]
    # shots are a prompt, so they are not the best layout
    assert "lowest" not in lines["4"]
    assert sum("lowest of the layouts" in line for line in lines.values()) == 1
    assert "<|im_end|> or <|endoftext|>" in shown


def test_doctor_refuses(tmp_path, capsys):
    (tmp_path / "empty").write_text("\n")
    for options, told in (
        (["--texts", "a"], "must be left out without llm"),
        (["--llm", str(tmp_path), "--texts", str(tmp_path / "no")], "must be a text file"),
        (["--llm", str(tmp_path), "--texts", str(tmp_path / "empty")], "a sentence in each line"),
    ):
        assert cli.main(["doctor", *options]) == 1
        assert told in capsys.readouterr().err

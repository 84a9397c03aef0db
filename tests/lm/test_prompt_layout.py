"""Layout of a prompt: where a document begins, what a chat adds, and whitespace that is kept."""

from __future__ import annotations

import pytest
import torch
from smol_twin import BOS, EOS, SEPARATOR, smol_llm, smol_tokenizer
from wordpieces import wordpiece

from fastbrain.errors import ConfigError, InputError
from fastbrain.lm import encode_context, encode_continuations, prompt_layout
from fastbrain.lm.end_tokens import document_separator, end_tokens_of

FP32 = 1e-4  # nats: attention over a cache sums in another order
SHOTS = "The man throws a ball.\nThe  woman paints.\n"


@pytest.fixture(scope="module")
def tokenizer():
    return smol_tokenizer()


def ids(tokenizer, *names):
    return tuple(tokenizer.convert_tokens_to_ids(list(names)))


def test_a_document_begins_with_its_separator_where_bos_begins_turns(tokenizer):
    document = prompt_layout(tokenizer)
    assert document.start == ids(tokenizer, SEPARATOR)
    assert "begins turns" in document.reason
    assert prompt_layout(tokenizer, kind="bos").start == ids(tokenizer, BOS)
    assert prompt_layout(tokenizer, kind="none").start == ()
    assert document.ends == ids(tokenizer, EOS, SEPARATOR)


def test_a_document_begins_with_bos_where_that_is_no_turn(tokenizer):
    base = smol_tokenizer(template=None)
    assert prompt_layout(base).start == ids(base, BOS)
    assert prompt_layout(base).reason == "BOS begins a document"
    base.bos_token = None
    assert prompt_layout(base).start == ids(base, SEPARATOR)
    words = wordpiece(["a", "b"])
    found = [prompt_layout(words, kind=kind) for kind in ("document", "bos")]
    assert [f.start for f in found] == [(words.bos_token_id,)] * 2


def test_the_chat_layout_is_the_template(tokenizer):
    layout = prompt_layout(tokenizer, kind="chat")
    said = "What is  there?\n "
    whole = tokenizer.apply_chat_template(
        [{"role": "user", "content": said}], tokenize=False, add_generation_prompt=True
    )
    middle = encode_context(tokenizer, [said], max_tokens=64)[0][0].tolist()
    made = [*layout.start, *middle, *layout.turn]
    assert tokenizer.decode(made) == whole
    assert layout.spaces(tokenizer, [said, "", (5,)]) == ["", "", ""]


def test_the_space_before_a_text_follows_from_what_precedes_it(tokenizer):
    prompts = ["", "The man", SHOTS, (), (9, 10), (*tokenizer.encode("A dog.\n"),), (1,)]
    document = prompt_layout(tokenizer).spaces(tokenizer, prompts)
    assert document == ["", " ", "", "", " ", "", ""]
    # a text is within a line, as in runs from before layouts
    assert prompt_layout(tokenizer, kind="bos").spaces(tokenizer, prompts[:3]) == [" "] * 3
    rows, mask = encode_continuations(
        tokenizer, ["The man", "the man"], max_tokens=20, end=False, spaces=["", " "]
    )
    said = [tokenizer.decode(r[m]) for r, m in zip(rows, mask, strict=True)]
    assert said == ["The man", " the man"]
    with pytest.raises(InputError, match="spaces must be one a text, 2, got 1"):
        encode_continuations(tokenizer, ["a", "b"], max_tokens=4, spaces=[""])


def test_models_of_words_are_read_alike_in_every_layout():
    words = wordpiece(["a", "dog", "man"])
    prompts, texts = ["", "a  man\n", " dog"], ["a dog", "man", "a"]
    for kind in ("document", "bos", "none"):
        layout = prompt_layout(words, kind=kind)
        found = encode_continuations(
            words, texts, max_tokens=9, spaces=layout.spaces(words, prompts)
        )
        assert torch.equal(found[0], encode_continuations(words, texts, max_tokens=9)[0])
    kept, collapsed = (
        encode_context(words, given, max_tokens=9)[0]
        for given in (prompts, [" ".join(p.split()) for p in prompts])
    )
    assert torch.equal(kept, collapsed)


def test_whitespace_and_tokens_of_a_prompt_are_kept(tokenizer):
    rows, mask = encode_context(tokenizer, [SHOTS, (7, 300, 7, 7), ()], max_tokens=200)
    assert tokenizer.decode(rows[0][mask[0]]) == SHOTS
    assert rows[1][mask[1]].tolist() == [7, 300, 7, 7]
    assert not mask[2].any()
    # tokens are never cut, texts are
    rows, mask = encode_context(tokenizer, ["The man", (7, 300, 7)], max_tokens=1)
    assert mask.sum(1).tolist() == [1, 3]
    with pytest.raises(InputError, match=r"must be in \[0, 330\), got 7 to 330"):
        encode_context(tokenizer, [(7, 330)], max_tokens=9)


def test_several_tokens_end_a_text(tokenizer):
    llm = smol_llm(tokenizer)
    assert end_tokens_of(tokenizer, llm) == [*ids(tokenizer, EOS, SEPARATOR)]
    assert document_separator(wordpiece(["a"])) is None
    assert prompt_layout(tokenizer, llm).ends == ids(tokenizer, EOS, SEPARATOR)


def test_refusals(tokenizer):
    with pytest.raises(ConfigError, match="kind must be one of"):
        prompt_layout(tokenizer, kind="documents")
    with pytest.raises(InputError, match="must have a chat template"):
        prompt_layout(smol_tokenizer(template=None), kind="chat")
    for template in ("{{ messages[0].role }}: ", "{{ raise_exception('only images') }}"):
        with pytest.raises(InputError, match=r"chat template must"):
            prompt_layout(smol_tokenizer(template=template), kind="chat")
    words = wordpiece(["a"])
    words.bos_token = None
    with pytest.raises(InputError, match="must have a bos token or a separator"):
        prompt_layout(words)


def test_texts_are_scored_after_the_layout_of_the_prompt(tokenizer):
    from fastbrain.brainllm import BrainLLM, BrainLLMConfig, BrainLLMDecoder

    llm = smol_llm(tokenizer)
    for kind in ("document", "chat", "bos"):
        config = BrainLLMConfig(3, frames=1, decoder="none", steering=True, layout=kind)
        decoder = BrainLLMDecoder(BrainLLM(config, llm=llm, text_tokenizer=tokenizer), end=False)
        rows, layout = decoder.read(torch.zeros(1, 1, 3)), prompt_layout(tokenizer, llm, kind=kind)
        own = tokenizer.encode(layout.first_space + "A dog.", add_special_tokens=False)
        whole = torch.tensor([[*layout.start, *layout.turn, *own]])
        logits = llm(whole).logits[0, -len(own) - 1 : -1].log_softmax(-1)
        expected = -logits.gather(1, torch.tensor(own)[:, None]).mean()
        found = decoder.score(rows, ["A dog."], torch.zeros(1, 2, dtype=torch.long).numpy())
        assert found[0] == pytest.approx(float(expected), abs=FP32)
    bare = BrainLLMConfig(3, decoder="none", steering=True, layout="none")
    decoder = BrainLLMDecoder(BrainLLM(bare, llm=llm, text_tokenizer=tokenizer))
    rows = decoder.read(torch.zeros(1, 1, 3))
    with pytest.raises(InputError, match="something must precede a text"):
        decoder.write(rows)

"""Lines written and scored after a list of lines: against the model's own forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.smol_twin import SIZES, smol_llm, smol_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from fastbrain.decoding import Sampling
from fastbrain.decoding.sampling import draw
from fastbrain.decoding.sentences import LineWriter, line_writer
from fastbrain.errors import InputError

# float32 sums over 330 tokens, in two orders of computation
NATS = {"rtol": 1e-4, "atol": 1e-4}
LINES = ("A dog holds the box.", "The woman paints  the house.")


@pytest.fixture(scope="module")
def writer():
    tokenizer = smol_tokenizer()
    return LineWriter(smol_llm(tokenizer), tokenizer)


def log_p(writer, prompt, ids):
    whole = torch.tensor([[*prompt, *ids]])
    with torch.no_grad():
        found = torch.log_softmax(writer.llm(whole).logits[0, len(prompt) - 1 : -1], dim=-1)
    return float(found.gather(1, torch.tensor(ids)[:, None]).sum())


def log_p_of_end(writer, ids):
    with torch.no_grad():
        found = torch.log_softmax(writer.llm(torch.tensor([ids])).logits[0, -1], dim=-1)
    return float(found[writer._ends].logsumexp(dim=0))


def continued(writer, prompt, start, most):
    """Log probability of the likeliest line with its end, and its number of tokens."""
    begun = [*prompt, *writer.tokenizer.encode(start, add_special_tokens=False)]
    ids: list[int] = []
    with torch.no_grad():
        while len(ids) < most and not (ids and bool(writer._ends[ids[-1]])):
            ids.append(int(writer.llm(torch.tensor([[*begun, *ids]])).logits[0, -1].argmax()))
    total = log_p(writer, begun, ids)
    if bool(writer._ends[ids[-1]]):
        return total, len(ids)
    return total + log_p_of_end(writer, [*begun, *ids]), len(ids) + 1


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_prompt_is_a_document_of_lines(writer):
    ids = writer.prompt(LINES)
    assert writer.tokenizer.decode(ids) == (
        "<|endoftext|>A dog holds the box.\nThe woman paints the house.\n"
    )


def test_whole_lines_are_scored_with_their_end(writer):
    prompt = writer.prompt(LINES)
    texts = ["The man throws a ball.", "A", "a child looks on over the wall"]
    found = writer.score(prompt, texts, at_once=2)
    for text, value, tokens in zip(texts, found.log_p, found.tokens, strict=True):
        ids = writer.tokenizer.encode(text + "\n", add_special_tokens=False)
        assert tokens == len(ids)
        np.testing.assert_allclose(value, log_p(writer, prompt, ids), **NATS)


def test_prompts_of_different_lengths_are_continued_as_each_alone(writer):
    prompts = [writer.prompt(LINES), writer.prompt(LINES[:1]), writer.prompt(LINES[::-1])]
    starts = ("", "The man", "A")
    options = {"sampling": Sampling(max_new_tokens=4), "generator": generator(), "starts": starts}
    found = writer.write(prompts, 2, **options)
    assert len(found.texts) == 6
    for i, (prompt, start) in enumerate(zip(prompts, starts, strict=True)):
        value, tokens = continued(writer, prompt, start, 4)
        assert found.texts[2 * i] == found.texts[2 * i + 1]
        assert found.texts[2 * i].startswith(start)
        assert found.tokens[2 * i] == tokens
        np.testing.assert_allclose(found.log_p[2 * i], value, **NATS)


def test_a_sliding_window_is_not_filled_by_padding():
    tokenizer = smol_tokenizer()
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer), sliding_window=6, initializer_range=0.2,
        **{**SIZES, "max_position_embeddings": 64},
    )  # fmt: skip
    writer = LineWriter(MistralForCausalLM(config).eval(), tokenizer)
    prompts = [writer.prompt(lines) for lines in (LINES, LINES[:1], [*LINES[:1], "A dog"])]
    found = writer.write(prompts, 1, sampling=Sampling(max_new_tokens=5), generator=generator())
    for i, prompt in enumerate(prompts):
        np.testing.assert_allclose(found.log_p[i], continued(writer, prompt, "", 5)[0], **NATS)
    text = "The man throws a ball."
    ids = tokenizer.encode(text + "\n", add_special_tokens=False)
    scored = writer.score(prompts[0], ["A", text])
    np.testing.assert_allclose(scored.log_p[1], log_p(writer, prompts[0], ids), **NATS)


def test_lines_that_are_cut_count_their_end(writer):
    prompt = writer.prompt(LINES)
    sampling = Sampling(method="sample", max_new_tokens=3, min_new_tokens=3)
    found = writer.write([prompt], 8, sampling=sampling, generator=generator())
    longer = Sampling(method="sample", max_new_tokens=4, min_new_tokens=3)
    after = writer.write([prompt], 8, sampling=longer, generator=generator())
    cut = [i for i, text in enumerate(found.texts) if after.texts[i] != text]
    assert cut
    assert found.tokens.tolist() == [4] * 8
    spelled = [writer.tokenizer.encode(text, add_special_tokens=False) for text in found.texts]
    as_drawn = [i for i in cut if len(spelled[i]) == 3]
    assert as_drawn
    for i in as_drawn:
        value = log_p(writer, prompt, spelled[i]) + log_p_of_end(writer, [*prompt, *spelled[i]])
        np.testing.assert_allclose(found.log_p[i], value, **NATS)


def test_a_prompt_may_be_the_begin_of_a_document_alone(writer):
    prompt = writer.prompt([])
    assert len(prompt) == 1
    ids = writer.tokenizer.encode("A dog\n", add_special_tokens=False)
    np.testing.assert_allclose(
        writer.score(prompt, ["A dog"]).log_p[0], log_p(writer, prompt, ids), **NATS
    )
    assert writer.next_words(prompt, "A dog").log_p.shape[0] == len(ids) - 1
    found = writer.write([prompt], 1, sampling=Sampling(max_new_tokens=3), generator=generator())
    np.testing.assert_allclose(found.log_p[0], continued(writer, prompt, "", 3)[0], **NATS)


def changed_weights(llm):
    with torch.no_grad():
        for weight in llm.parameters():
            weight.mul_(1.5)


@pytest.mark.parametrize("change", [changed_weights, lambda llm: llm.to(torch.bfloat16)])
def test_a_prompt_is_read_again_after_the_model_changed(change):
    tokenizer = smol_tokenizer()
    writer = LineWriter(smol_llm(tokenizer), tokenizer)
    prompt = writer.prompt(LINES)
    writer.score(prompt, ["A dog"])
    change(writer.llm)
    fresh = LineWriter(writer.llm, tokenizer)
    assert writer.score(prompt, ["A dog"]).log_p == fresh.score(prompt, ["A dog"]).log_p
    words = [one.next_words(prompt, "A dog").log_p for one in (writer, fresh)]
    np.testing.assert_array_equal(*words)


def test_a_prompt_is_read_again_without_an_adapter():
    peft = pytest.importorskip("peft")
    tokenizer = smol_tokenizer()
    options = peft.LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False)
    llm = peft.get_peft_model(smol_llm(tokenizer), options)
    writer = LineWriter(llm, tokenizer)
    prompt = writer.prompt(LINES)
    tuned = writer.score(prompt, ["A dog"]).log_p
    with llm.disable_adapter():
        found = writer.score(prompt, ["A dog"]).log_p
        assert found == LineWriter(llm, tokenizer).score(prompt, ["A dog"]).log_p
        assert found != tuned
    assert writer.score(prompt, ["A dog"]).log_p == tuned


def test_a_prompt_is_read_once_while_the_model_stays(writer):
    seen = []
    handle = writer.llm.base_model.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    prompt = writer.prompt([*LINES, *LINES])
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            writer.next_words(prompt, "A dog")
        after = writer.score(prompt, ["A dog"]).log_p
    finally:
        handle.remove()
    assert [n for n in seen if n > 20] == [len(prompt) - 1]
    # what another precision read first is not kept
    assert after == LineWriter(writer.llm, writer.tokenizer).score(prompt, ["A dog"]).log_p


def test_a_line_does_not_depend_on_when_others_end(writer, monkeypatch):
    drawn = []
    monkeypatch.setattr(line_writer, "draw", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    prompt, count = writer.prompt(LINES), 17
    sampling = Sampling(method="sample", max_new_tokens=12)
    found = writer.write([prompt], count, sampling=sampling, generator=generator(3))
    ids: list[list[int]] = [[] for _ in range(count)]
    left = list(range(count))
    for step in drawn:
        for row, token in zip(left, step.tolist(), strict=True):
            ids[row].append(token)
        left = [row for row in left if not bool(writer._ends[ids[row][-1]])]
    # some lines end before the others are cut, so rows were dropped on the way
    assert 0 < len(left) < count
    for row in range(count):
        value = log_p(writer, prompt, ids[row])
        value += log_p_of_end(writer, [*prompt, *ids[row]]) if row in left else 0.0
        np.testing.assert_allclose(found.log_p[row], value, **NATS)
    assert not any("\n" in text for text in found.texts)
    again = writer.write([prompt], count, sampling=sampling, generator=generator(3))
    assert found.texts == again.texts


def test_drawn_tokens_have_the_probabilities_of_the_model():
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0]]).expand(4000, -1)
    plain = Sampling(method="sample", temperature=2.0)
    drawn = draw(logits, plain, torch.rand(4000, generator=generator()))
    share = torch.bincount(drawn, minlength=4) / 4000
    # standard error of a share is below 0.008
    torch.testing.assert_close(share, torch.softmax(logits[0] / 2, 0), atol=0.03, rtol=0)


class ForcedCache:
    """Stands for keys and values."""

    def batch_repeat_interleave(self, count):
        pass

    def batch_select_indices(self, rows):
        pass


def test_the_full_stop_of_a_token_that_ends_a_line_is_kept(monkeypatch):
    # without a split at words, ".\\n" becomes one token, as in the vocabularies of Qwen and Llama 3
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=258, special_tokens=special, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    core.train_from_iterator([f"{letter}.\n" for letter in "abcdefgh"] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=special[0], eos_token=special[0], pad_token=special[0]
    )
    ids = tokenizer.encode("ab.\n", add_special_tokens=False)
    assert tokenizer.decode(ids[-1:]) == ".\n"
    writer = LineWriter(smol_llm(tokenizer), tokenizer)
    size = writer.llm.get_input_embeddings().weight.shape[0]
    left = iter(ids)

    def step(tokens, mask, cache):
        logits = torch.zeros(len(tokens), size)
        logits[:, next(left)] = 99.0
        return logits, ForcedCache()

    monkeypatch.setattr(writer, "_step", step)
    found = writer.write(
        [writer.prompt(["c."])], 1, sampling=Sampling(method="greedy", max_new_tokens=8),
        generator=torch.Generator(),
    )  # fmt: skip
    assert found.texts == ("ab.",)
    assert found.tokens.tolist() == [len(ids)]


def test_texts_beyond_the_context_are_refused(writer):
    prompt = writer.prompt(["The dog sees the box."])
    most = writer.llm.config.max_position_embeddings
    with pytest.raises(InputError, match=f"at most {most} tokens"):
        writer.score(prompt, ["box " * most])
    sampling = Sampling(method="sample", max_new_tokens=most)
    with pytest.raises(InputError, match=f"at most {most} tokens"):
        writer.write([prompt], 2, sampling=sampling, generator=torch.Generator())

"""BrainLLM: the right sequence for every decoder and language model, and clear refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from fastbrain.brainllm import BrainLLM, BrainLLMConfig
from fastbrain.brainllm.config import DECODERS
from fastbrain.errors import ConfigError, InputError
from fastbrain.lm import encode_context, encode_continuations

K, FRAMES, VOCABULARY = 6, 4, 53


@pytest.fixture(scope="module")
def tokenizer():
    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    words = special + [f"w{i}" for i in range(VOCABULARY - len(special))]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
    )


@pytest.fixture
def make(tokenizer, make_llm):
    def build(kind="llama", **options):
        torch.manual_seed(0)
        config = BrainLLMConfig(features=K, frames=FRAMES, **options)
        return BrainLLM(config, llm=make_llm(kind), text_tokenizer=tokenizer).eval()

    return build


def sample(tokenizer, prompts=("w1 w2 w3", "w4"), texts=("w5 w6", "w7 w8 w9 w10")):
    prompt, prompt_mask = encode_context(tokenizer, prompts, max_tokens=8)
    ids, mask = encode_continuations(tokenizer, texts, max_tokens=8)
    return prompt, prompt_mask, ids, mask


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2"])
@pytest.mark.parametrize("position", ["before-prompt", "after-prompt"])
def test_nll_is_that_of_the_sequence(make, tokenizer, kind, position):
    model = make(kind, position=position, steering=True)
    torch.nn.init.normal_(model.steer.weight)
    windows = torch.randn(2, 3, K)
    prompt, prompt_mask, ids, mask = sample(tokenizer)
    with torch.no_grad():
        found = model.text_nll(windows, prompt, ids, mask, prompt_mask=prompt_mask)
        embed, head = model.llm.get_input_embeddings(), model.llm.get_output_embeddings().weight
        for i in range(2):
            brain = torch.cat(
                [model.marks[:1], model.decoder(windows[i][None])[0], model.marks[1:]]
            )
            said = embed(prompt[i][prompt_mask[i]])
            own = ids[i][mask[i]]
            parts = [brain, said] if position == "before-prompt" else [said, brain]
            sequence = torch.cat(
                [embed(torch.tensor([tokenizer.bos_token_id])), *parts, embed(own)]
            )
            logits = model.llm(inputs_embeds=sequence[None]).logits[0, -len(own) - 1 : -1]
            logits = logits + model.steer(windows[i].mean(dim=0)) @ head.T
            expected = F.cross_entropy(logits, own, reduction="none")
            torch.testing.assert_close(found[i][mask[i]], expected, rtol=1e-4, atol=2e-5)
    assert (found[~mask] == 0).all()


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("decoder", [d for d in DECODERS if d != "none"])
def test_every_decoder_learns_and_nothing_else(make, tokenizer, decoder, additive):
    model = make(decoder=decoder, additive_position=additive, dropout=0.0).train()
    assert not model.llm.training
    for frames in (1, FRAMES):
        prefix = model.prefix(torch.randn(2, frames, K))
        assert prefix.shape == (2, frames + 2, 16)
    _, _, ids, mask = sample(tokenizer, texts=[f"w{i} w5" for i in range(16)])
    none = torch.zeros(16, 0, dtype=torch.long)
    model.text_nll(torch.randn(16, FRAMES, K), none, ids, mask).sum().backward()
    learnt = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    own = {n for n, p in model.named_parameters() if not n.startswith("llm.")}
    assert learnt == own
    assert "marks" in own
    assert ("positions" in own) == additive
    state = model.state_dict()
    assert set(state) == own
    make(decoder=decoder, additive_position=additive).load_state_dict(state)


def test_the_language_model_may_be_on_another_device(make_llm, tokenizer):
    # a meta tensor refuses those of the CPU as one of a GPU does
    llm = make_llm("llama").to("meta")
    model = BrainLLM(BrainLLMConfig(features=K), llm=llm, text_tokenizer=tokenizer)
    assert model.marks.device == llm.device


def test_size_of_the_paper():
    from fastbrain.brainllm import brain_decoder

    decoder = brain_decoder(BrainLLMConfig(features=1000), 4096)
    assert sum(p.numel() for p in decoder.parameters()) == 2 * 1000**2 + 1000 + 1000 * 4096
    assert [type(m).__name__ for m in decoder] == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]


def test_steering_starts_as_nothing_and_stands_alone(make, tokenizer):
    model = make(decoder="none", steering=True)
    windows = torch.randn(2, 1, K)
    assert model.prefix(windows).shape == (2, 0, 16)
    assert not model.logit_bias(windows).any()
    assert make().logit_bias(windows) is None
    with pytest.raises(InputError, match="decoder must not be 'none'"):
        model.words(windows)
    with pytest.raises(ConfigError, match="steering must be on without decoder"):
        BrainLLMConfig(features=K, decoder="none")


def test_no_brain(make):
    model = make()
    assert model.no_brain(3).shape == (3, 2, 16)
    with model.untuned():
        assert model.no_brain(3).shape == (3, 0, 16)
    assert model.no_brain(3).shape == (3, 2, 16)


def test_prompts_lose_their_oldest_words_and_texts_none(tokenizer):
    ids, mask = encode_context(tokenizer, ["w1 w2 w3", "", "w4"], max_tokens=2)
    assert tokenizer.batch_decode(ids[0:1]) == ["w2 w3"]
    assert mask.tolist() == [[True, True], [False, False], [False, True]]
    oldest, _ = encode_context(tokenizer, ["w1 w2 w3"], max_tokens=2, keep="oldest")
    assert tokenizer.batch_decode(oldest) == ["w1 w2"]
    ids, mask = encode_continuations(tokenizer, ["w1 w2", "w3"], max_tokens=3)
    assert ids[mask].tolist() == tokenizer.convert_tokens_to_ids(
        ["w1", "w2", "<eos>", "w3", "<eos>"]
    )
    ids, _ = encode_continuations(tokenizer, ["w1 w2"], max_tokens=2, end=False)
    assert ids.shape == (1, 2)
    with pytest.raises(InputError, match=r"1 to 2 tokens, got 3 in 'w1 w2'"):
        encode_continuations(tokenizer, ["w1 w2"], max_tokens=2)
    with pytest.raises(InputError, match="got 0"):
        encode_continuations(tokenizer, [" "], max_tokens=2)


def test_refusals(make, make_llm, tokenizer):
    model = make()
    for frames in (0, FRAMES + 1):
        with pytest.raises(InputError, match="with 1 to 4 volumes"):
            model.words(torch.randn(2, frames, K))
    with pytest.raises(InputError, match=r"must be \(B, t, 6\)"):
        model.words(torch.randn(2, 2, K + 1))
    for name in ("bos", "pad"):
        poor = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer,
            **{f"{n}_token": f"<{n}>" for n in ("bos", "pad", "eos") if n != name},
        )
        with pytest.raises(InputError, match=f"must have a {name} token"):
            BrainLLM(BrainLLMConfig(features=K), llm=make_llm("llama"), text_tokenizer=poor)
    model.llm.config.max_position_embeddings = 10
    _, _, ids, mask = sample(tokenizer)
    prompt = torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(InputError, match=r"context of 10 tokens, got 10 \+ 5"):
        model.text_nll(torch.randn(2, 2, K), prompt, ids, mask)
    with pytest.raises(ConfigError, match="decoder must be one of"):
        BrainLLMConfig(features=K, decoder="transformer")

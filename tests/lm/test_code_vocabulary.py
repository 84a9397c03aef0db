"""Codes as tokens: saved and found again, attended in steps, predicted and said."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fastbrain.errors import InputError
from fastbrain.lm import (
    CodeVocabulary,
    continue_codes,
    extend_vocabulary,
    interleave,
    mixed_loss,
    stair_step_mask,
)
from fastbrain.lm.mixed_sequence import IGNORED, additive

# distances of 40 codes through a random map to 16 dimensions; unrelated rows would give about 0
NEAR = 0.5
FP32 = {"rel": 1e-5}  # means of a few norms, of order one
WORDS = ("<pad>", "<bos>", "<eos>", "<unk>", "the", "age", "is", "seven", "nine")
CODES = 6


def word_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def language_model(kind="llama", tied=True, rows=9):
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=rows, n_embd=16, n_layer=2, n_head=2, tie_word_embeddings=tied
        )
        return GPT2LMHeadModel(config).eval()
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def extended(**options):
    tokenizer, llm = word_tokenizer(), language_model(**options)
    return llm, tokenizer, extend_vocabulary(llm, tokenizer, CODES)


def codes(regions=2, steps=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(CODES, (regions, steps), generator=generator)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_words_stay_and_codes_come_behind(kind, tied):
    before = language_model(kind, tied).get_input_embeddings().weight.detach()
    llm, tokenizer, vocabulary = extended(kind=kind, tied=tied)
    assert vocabulary == CodeVocabulary(len(WORDS) + 2, CODES, len(WORDS), len(WORDS) + 1)
    table = llm.get_input_embeddings().weight.detach()
    assert torch.equal(table[: len(WORDS)], before)
    assert table.shape[0] == len(tokenizer) == len(WORDS) + 2 + CODES
    head = llm.get_output_embeddings().weight
    assert (head.data_ptr() == table.data_ptr()) == tied
    # as far from the mean as words are
    mean = before.mean(dim=0)
    away = [(part - mean).norm(dim=1).mean() for part in (before, table[len(WORDS) :])]
    assert float(away[1] / away[0]) == pytest.approx(1, **FP32)
    assert tokenizer.encode("the age", add_special_tokens=False) == [4, 5]


def test_near_codes_are_near_tokens():
    codebook = torch.randn(40, 12, generator=torch.Generator().manual_seed(0))
    llm, tokenizer = language_model(), word_tokenizer()
    vocabulary = extend_vocabulary(llm, tokenizer, 40, codebook=codebook)
    rows = llm.get_input_embeddings().weight[vocabulary.first :].detach()
    between = torch.stack([torch.pdist(codebook), torch.pdist(rows)])
    assert torch.corrcoef(between)[0, 1] > NEAR


def test_a_padded_embedding_table_is_kept():
    llm, tokenizer = language_model(rows=64), word_tokenizer()
    vocabulary = extend_vocabulary(llm, tokenizer, CODES)
    assert llm.get_input_embeddings().weight.shape[0] == 64
    assert vocabulary.first == len(WORDS) + 2


def test_saved_and_found_again(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    llm, tokenizer, vocabulary = extended()
    llm.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert CodeVocabulary.find(again) == vocabulary
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    parts = ["the age is", codes(), "seven"]
    one, other = (interleave(parts, t, vocabulary) for t in (tokenizer, again))
    assert torch.equal(one.ids, other.ids)
    torch.testing.assert_close(mixed_loss(loaded, other), mixed_loss(llm, one))


def test_a_row_of_text_codes_and_text():
    _, tokenizer, v = extended()
    first = v.first
    row = interleave(["the age", torch.tensor([[0, 1, 2], [3, 4, 5]]), "is seven"], tokenizer, v)
    expected = [4, 5, v.begin, first, first + 3, first + 1, first + 4, first + 2, first + 5, v.end]
    assert row.ids.tolist() == [*expected, 6, 7]
    assert row.blocks.tolist() == [0, 1, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8]
    no = IGNORED
    coded = [first + 1, first + 4, first + 2, first + 5]
    assert row.labels.tolist() == [5, no, no, *coded, no, no, 6, 7, no]
    assert v.codes_of(row.ids).tolist() == [-1, -1, -1, 0, 3, 1, 4, 2, 5, -1, -1, -1]


def test_the_mask_is_a_staircase():
    mask = stair_step_mask(torch.tensor([0, 1, 1, 2]))[0, 0].int().tolist()
    assert mask == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_step_sees_all_of_itself_and_nothing_later(kind):
    llm, tokenizer, vocabulary = extended(kind=kind)
    row = interleave(["the age", codes(2, 4)], tokenizer, vocabulary)
    ids = row.ids[None].clone()
    mask = additive(stair_step_mask(row.blocks), torch.float32)

    # the second region of the second step: positions 3, 4 are the first step, 5, 6 the second
    changed = ids.clone()
    changed[0, 6] = vocabulary.first + (ids[0, 6] - vocabulary.first + 1) % CODES
    with torch.no_grad():
        plain, other = (
            llm(input_ids=x, attention_mask=mask, use_cache=False).logits[0] for x in (ids, changed)
        )
    assert torch.equal(plain[:5], other[:5])
    assert not torch.allclose(plain[5], other[5])
    assert not torch.allclose(plain[7], other[7])


def test_the_loss_is_cross_entropy_at_the_labels():
    llm, tokenizer, vocabulary = extended()
    row = interleave(["the age is", codes(), "seven"], tokenizer, vocabulary)
    mask = additive(stair_step_mask(row.blocks), torch.float32)
    logits = llm(input_ids=row.ids[None], attention_mask=mask).logits[0]
    torch.testing.assert_close(
        mixed_loss(llm, row), F.cross_entropy(logits, row.labels, ignore_index=IGNORED)
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_cached_steps_are_those_of_whole_passes(kind):
    llm, _, vocabulary = extended(kind=kind)
    start = codes(3, 2)
    found = continue_codes(llm, vocabulary, start, steps=4)
    assert found.shape == (3, 6)
    assert torch.equal(found[:, :2], start)
    said = start
    for _ in range(4):
        ids = torch.cat([torch.tensor([vocabulary.begin]), vocabulary.tokens(said).T.flatten()])
        steps = 1 + torch.arange(said.shape[1]).repeat_interleave(3)
        blocks = torch.cat([steps.new_zeros(1), steps])
        mask = additive(stair_step_mask(blocks), torch.float32)
        with torch.no_grad():
            logits = llm(input_ids=ids[None], attention_mask=mask).logits[0, -3:]
        allowed = logits[:, vocabulary.first : vocabulary.first + CODES]
        said = torch.cat([said, allowed.argmax(dim=1)[:, None]], dim=1)
    assert torch.equal(found, said)


def test_a_model_learns_the_rule_of_a_recording_and_goes_on_with_it():
    """Each region counts upwards at its own pace; the text names the second region's pace."""
    llm, tokenizer, vocabulary = extended()
    generator = torch.Generator().manual_seed(0)

    def recording(paces):
        start = torch.randint(CODES, (2, 1), generator=generator)
        return (start + torch.tensor(paces)[:, None] * torch.arange(5)) % CODES

    optimizer = torch.optim.Adam(llm.parameters(), lr=5e-3)
    llm.train()
    for _ in range(150):
        optimizer.zero_grad()
        pace = int(torch.randint(2, (1,), generator=generator))
        parts = [recording([1, 1 + pace]), ("seven", "nine")[pace]]
        loss = mixed_loss(llm, interleave(parts, tokenizer, vocabulary))
        loss.backward()
        optimizer.step()
    llm.eval()
    right = []
    for pace in (0, 1):
        for _ in range(8):
            whole = recording([1, 1 + pace])
            found = continue_codes(llm, vocabulary, whole[:, :3], steps=2)
            right.append((found == whole)[:, 3:].float().mean())
    # of the two steps that it writes; guessing is right in one of six
    assert float(torch.stack(right).mean()) > 0.75


def test_drawing_codes_repeats_itself_and_says_codes_alone():
    llm, _, vocabulary = extended()
    draws = [
        continue_codes(
            llm,
            vocabulary,
            codes(),
            steps=5,
            temperature=2.0,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert 0 <= int(draws[0].min()) <= int(draws[0].max()) < CODES


def test_what_is_refused():
    llm, tokenizer, vocabulary = extended()
    with pytest.raises(InputError, match="must not have codes yet"):
        extend_vocabulary(llm, tokenizer, 3)
    with pytest.raises(InputError, match="codebook"):
        extend_vocabulary(language_model(), word_tokenizer(), 3, codebook=torch.zeros(4, 2))
    with pytest.raises(InputError, match="extend_vocabulary"):
        CodeVocabulary.find(word_tokenizer())
    for part, message in (
        (codes() - 1 - CODES, "codes must be in"),
        (codes() + CODES, "codes must be in"),
        (torch.zeros(3), "parts must be texts, tokens"),
        (7, "parts must be a sequence of"),
    ):
        with pytest.raises(InputError, match=message):
            interleave([part], tokenizer, vocabulary)
    with pytest.raises(InputError, match="got none"):
        interleave([""], tokenizer, vocabulary)
    with pytest.raises(InputError, match="predict"):
        mixed_loss(llm, interleave([codes(2, 1)], tokenizer, vocabulary))
    with pytest.raises(InputError, match="continue_codes"):
        continue_codes(llm, vocabulary, codes(2, 0), steps=1)

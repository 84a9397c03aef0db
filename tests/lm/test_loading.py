"""Language models: the small one that is trained here, and how any one is loaded."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from fastbrain.errors import ConfigError, InputError
from fastbrain.lm import (
    attention_choice,
    encode_answers,
    encode_prompts,
    llm_fingerprint,
    load_llm,
    padding_note,
    small_llm,
)
from fastbrain.lm.loading import model_digest

CORPUS = [
    f"What happens? The {who} {does} the {what}."
    for who in ("man", "woman", "child", "dog")
    for does in ("kicks", "throws", "holds", "paints")
    for what in ("ball", "box", "wall")
]
SIZES = {"dim": 32, "depth": 2, "heads": 2, "steps": 120, "batch_size": 16, "slots": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_llm(CORPUS, cache_dir=tmp_path_factory.mktemp("cache"), **SIZES)


@pytest.fixture(scope="module")
def loaded(folder):
    return load_llm(str(folder))


def text_nll(model, tokenizer, hints: str, text: str) -> float:
    """Mean nats a token of `text` after hints that stand in the prefix's place."""
    before = [tokenizer.bos_token_id, *tokenizer.encode(hints, add_special_tokens=False)]
    ids = tokenizer.encode(text, add_special_tokens=False)
    with torch.no_grad():
        logits = model(torch.tensor([before + ids])).logits[0, len(before) - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids)))


def test_the_small_llm_knows_its_corpus_better_than_word_counts_do(loaded):
    model, tokenizer = loaded
    words = [tokenizer.encode(t, add_special_tokens=False) for t in CORPUS]
    counts = Counter(w for row in words for w in row)
    total = sum(counts.values())
    unigram = -sum(n / total * math.log(n / total) for n in counts.values())
    nll = sum(text_nll(model, tokenizer, "", t) for t in CORPUS) / len(CORPUS)
    assert nll < 0.6 * unigram


def test_words_in_front_steer_the_small_llm(loaded):
    model, tokenizer = loaded
    text = "What happens? The woman paints the wall."
    right = text_nll(model, tokenizer, "wall paints woman", text)
    wrong = text_nll(model, tokenizer, "ball kicks dog", text)
    assert right < wrong


def test_the_small_llm_is_found_again_and_a_damaged_one_is_made_anew(folder):
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert small_llm(CORPUS, cache_dir=folder.parent, **SIZES) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    other = small_llm(CORPUS[:2], cache_dir=folder.parent, **SIZES | {"steps": 1})
    assert other != folder
    (other / "config.json").write_text("{}")
    assert small_llm(CORPUS[:2], cache_dir=folder.parent, **SIZES | {"steps": 1}) == other
    assert load_llm(str(other))[0].config.hidden_size == 32


def test_training_it_leaves_the_global_random_numbers_alone(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    a = small_llm(CORPUS[:3], cache_dir=tmp_path / "a", **SIZES | {"steps": 2})
    assert torch.equal(torch.rand(3), expected)
    b = small_llm(CORPUS[:3], cache_dir=tmp_path / "b", **SIZES | {"steps": 2})
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


@pytest.mark.parametrize("corpus", [[], ["words", "  "]])
def test_a_corpus_without_words_is_refused(corpus, tmp_path):
    with pytest.raises(InputError, match="corpus"):
        small_llm(corpus, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("size", "words"),
    [({"batch_size": 0}, "batch_size"), ({"slots": 0}, "slots"), ({"dim": 36}, "multiple of 8")],
)
def test_impossible_sizes_are_refused(size, words, tmp_path):
    with pytest.raises(InputError, match=words):
        small_llm(["a dog"], cache_dir=tmp_path, **size)


def test_texts_survive_the_word_tokenizer(loaded):
    tokenizer = loaded[1]
    for text in CORPUS[:3]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("zebra") == [tokenizer.unk_token_id]


def test_a_loaded_llm_is_frozen(loaded):
    model, tokenizer = loaded
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert model.dtype == torch.float32
    assert padding_note(tokenizer) == "pad token: <pad>"


def test_precision_does_not_change_the_fingerprint_but_weights_do(folder, loaded):
    first = llm_fingerprint(loaded[0])
    assert llm_fingerprint(load_llm(str(folder), dtype="bfloat16")[0]) == first
    other = load_llm(str(folder))[0]
    with torch.no_grad():
        other.get_input_embeddings().weight.mul_(1.1)
    assert llm_fingerprint(other) != first


def test_what_pads_and_ends_is_checked(folder, tmp_path):
    model, tokenizer = load_llm(str(folder))
    tokenizer.pad_token = None
    model.save_pretrained(tmp_path / "nopad")
    tokenizer.save_pretrained(tmp_path / "nopad")
    _, again = load_llm(str(tmp_path / "nopad"))
    assert again.pad_token_id == again.eos_token_id
    assert "EOS" in padding_note(again)
    tokenizer.eos_token = None
    model.save_pretrained(tmp_path / "noeos")
    tokenizer.save_pretrained(tmp_path / "noeos")
    with pytest.raises(InputError, match="must have an EOS"):
        load_llm(str(tmp_path / "noeos"))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="not-here"):
        load_llm(str(tmp_path / "not-here"))


@pytest.mark.parametrize("option", [{"dtype": "float8"}, {"attn": "flash"}])
def test_unknown_options_are_refused(folder, option):
    with pytest.raises(ConfigError, match=next(iter(option.values()))):
        load_llm(str(folder), **option)


def test_impossible_bits_are_refused_before_the_model_is_looked_up(tmp_path):
    with pytest.raises(ConfigError, match="bits must be 8 or 4, got 3"):
        load_llm(str(tmp_path / "not-here"), bits=3)


def test_attention_choice_says_why():
    assert attention_choice("cpu") == ("sdpa", "the model is on the CPU")
    implementation, why = attention_choice("cuda")
    assert implementation in ("sdpa", "flash_attention_2")
    assert why


def test_answers_end_and_prompts_meet_them(loaded):
    tokenizer = loaded[1]
    ids, mask = encode_answers(tokenizer, ["the  man", "the dog kicks the box ."])
    assert ids.shape == mask.shape == (2, 7)
    assert mask.sum(1).tolist() == [3, 7]
    assert ids[0, 2] == ids[1, 6] == tokenizer.eos_token_id
    assert (ids[0, 3:] == tokenizer.pad_token_id).all()
    ids, mask = encode_answers(tokenizer, ["the dog kicks the box ."], max_tokens=3)
    assert ids.shape == (1, 3)
    assert tokenizer.eos_token_id not in ids
    with pytest.raises(InputError, match="max_tokens must be 1 or more, got -1"):
        encode_answers(tokenizer, ["the dog kicks the box ."], max_tokens=-1)
    ids, mask = encode_prompts(tokenizer, ["What", "What happens ?"])
    assert mask.tolist() == [[False, False, True], [True, True, True]]
    with pytest.raises(InputError, match="empty"):
        encode_answers(tokenizer, ["words", " "])


def test_byte_level_tokenizers_get_the_space_before_the_first_word():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({c: i for i, c in enumerate([*letters, "<e>"])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<e>", pad_token="<e>")
    ids, _ = encode_answers(tokenizer, ["a dog"])
    assert tokenizer.decode(ids[0, :-1]) == " a dog"


def test_a_digest_of_a_weight_whose_last_number_is_no_float32():
    # 2^24 + 3 is rounded up, to a place beyond the end
    large = torch.zeros(2**24 + 4, dtype=torch.bfloat16)
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(large, requires_grad=False)
    before = model_digest(model)
    large[-1] = 1
    assert model_digest(model) != before

"""Running text: as many words as asked for, found as an exhaustive search would."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from wordpieces import wordpiece

from fastbrain.brainllm import BrainLLM, BrainLLMConfig, StorySearch, reconstruct, story_search
from fastbrain.decoding import Sampling, generate
from fastbrain.decoding.word_starts import WordStarts
from fastbrain.errors import ConfigError, InputError

K = 3
# Relative. A score is a sum of float32 log probabilities, and the library adds in another order for
# a batch of another size and on another CPU: a few units in the last place of each of the four
# terms. Measured on an Intel Xeon with AMX: 3e-7 between beams of 1 and 81.
ROUNDING = 16 * torch.finfo(torch.float32).eps


@pytest.fixture
def make():
    def build(words=("a", "b", "c"), **options):
        torch.manual_seed(0)
        tokenizer = wordpiece(words)
        sizes = {"vocab_size": len(tokenizer), "n_embd": 12, "n_layer": 1, "n_head": 2}
        llm = GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=1.0))
        model = BrainLLM(BrainLLMConfig(K, frames=2, **options), llm=llm, text_tokenizer=tokenizer)
        torch.nn.init.normal_(model.decoder[-1].weight)
        return model.eval()

    return build


def total(model, window, tokens):
    """Log probability of words after one brain; the last one ends, whatever comes next."""
    before, _ = model.before_text(model.prefix(window), torch.zeros(1, 0, dtype=torch.long))
    embeds = torch.cat([before, model.llm.get_input_embeddings()(torch.tensor([tokens]))], dim=1)
    log_p = model.llm(inputs_embeds=embeds).logits[0, before.shape[1] - 1 :].log_softmax(-1)
    return float(log_p[range(len(tokens)), tokens].sum())


@pytest.mark.parametrize("options", [{}, {"steering": True}])
def test_a_wide_beam_is_an_exhaustive_search(make, options):
    model = make(**options)
    if model.steer is not None:
        torch.nn.init.zeros_(model.steer.weight)  # `total` knows no steering
    windows = torch.randn(1, 2, K)
    words = range(4, 7)
    best = max(itertools.product(words, repeat=4), key=lambda t: total(model, windows, list(t)))
    search = StorySearch(beams=81, extensions=3, length_penalty=0.0)
    found = reconstruct(model, windows, [4], search=search)
    assert found.text == model.text_tokenizer.decode(list(best))
    assert found.score == pytest.approx(total(model, windows, list(best)), abs=1e-4)
    narrow = reconstruct(model, windows, [4], search=StorySearch(1, 1, length_penalty=0.0))
    assert narrow.score <= found.score + ROUNDING * abs(found.score)


def test_one_path_is_greedy_generation_and_goes_on_from_its_own_words(make):
    model = make()
    windows = torch.randn(2, 2, K)
    search = StorySearch(beams=1, extensions=1, context=10)
    found = reconstruct(model, windows, [3, 2], search=search)
    said = torch.zeros(1, 0, dtype=torch.long)
    forbidden = torch.zeros(1, 7)
    forbidden[0, :4] = -torch.inf
    for window, count, text in zip(windows, (3, 2), found.texts, strict=True):
        before, _ = model.before_text(model.prefix(window[None]), said)
        new = generate(
            model.llm, before, eos_token_id=2, pad_token_id=0, logit_bias=forbidden,
            sampling=Sampling(max_new_tokens=count),
        )  # fmt: skip
        assert text == model.text_tokenizer.decode(new.tokens[0])
        said = torch.cat([said, new.tokens], dim=1)


def test_words_are_counted_not_tokens(make):
    model = make(("a", "b", "##c", "##d", "."))
    counts = [2, 0, 5, 1, 3]
    for search in (story_search(), story_search("fastbrain"), StorySearch(longest_word=2)):
        found = reconstruct(model, torch.randn(5, 2, K), counts, search=search)
        assert [len(text.replace(".", "").split()) for text in found.texts] == counts
        assert max(map(len, found.text.replace(".", "").split())) <= search.longest_word


def test_the_vocabulary_stays_on_the_device(make, monkeypatch):
    model = make(tuple(f"w{i}" for i in range(60)))
    sizes = []
    for name in ("tolist", "cpu", "numpy"):
        kept = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda t, *a, kept=kept: (sizes.append(t.shape), kept(t, *a))[1]
        )
    reconstruct(model, torch.randn(2, 2, K), [3, 3], search=StorySearch(candidates=7))
    assert sizes
    assert max(shape[-1] for shape in sizes if shape) <= 7


def test_without_a_brain_the_model_speaks_alone(make):
    model = make()
    first = reconstruct(model, None, [3, 3])
    assert first == reconstruct(model, None, [3, 3])
    with model.untuned():
        plain = reconstruct(model, None, [3, 3])
    assert plain.score != first.score


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Ġa", "b", "Ġ,", "Ċ"), (True, False, False, False)),
        (("▁a", "b", "<0x0A>", "▁"), (True, False, False, False)),
        (("a", "##b", ".", "c"), (True, False, False, True)),
    ],
)
def test_beginnings_of_words(make, names, expected):
    class Names:
        all_special_ids = ()

        def __len__(self):
            return len(names)

        def convert_ids_to_tokens(self, ids):
            return [names[i] for i in ids]

    starts = WordStarts(Names(), make().llm, torch.device("cpu"))
    assert tuple(starts.begins(i) for i in range(4)) == expected


def test_refusals(make):
    model = make()
    for counts in ([], [1], [1, -1]):
        with pytest.raises(InputError, match="reconstruct: counts must be 0 or more for every"):
            reconstruct(model, torch.randn(2, 2, K), counts)
    with pytest.raises(InputError, match="must fit the context"):
        reconstruct(model, torch.randn(1, 2, K), [1024])
    with pytest.raises(ConfigError, match="name must be one of"):
        story_search("fast")
    with pytest.raises(ConfigError, match="beams must be >= 1"):
        StorySearch(beams=0)
    with pytest.raises(ConfigError, match="repetition_penalty must be >= 1"):
        StorySearch(repetition_penalty=0.5)
    assert story_search() == StorySearch(3, 3, 200, 10, 10, 1.0, 0.3)


def test_true_words_before_a_window_do_not_count_for_its_length(make):
    model, window = make(), torch.randn(1, 2, K)
    search = StorySearch(beams=1, extensions=1, length_penalty=0.0)
    plain = reconstruct(model, window, [3], search=search, prompts=["a b c a b"])
    search = StorySearch(beams=1, extensions=1, length_penalty=0.5)
    found = reconstruct(model, window, [3], search=search, prompts=["a b c a b"])
    assert found.text == plain.text
    assert found.score == pytest.approx(plain.score / 3**0.5, rel=1e-5)

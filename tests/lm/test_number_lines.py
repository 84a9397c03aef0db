"""Values as tokens: levels on straight lines of the embedding space."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from fastbrain.errors import InputError
from fastbrain.lm import CodeVocabulary, extend_vocabulary
from fastbrain.lm.number_lines import NumberLines, extend_number_lines
from fastbrain.lm.word_lm import word_tokenizer

LINES, LEVELS, CODES = 3, 7, 6
# steps between float32 sums of a mean and a direction, of order one
STEPS = {"atol": 1e-6, "rtol": 1e-4}
MOST_COSINE = 0.95  # of two lines of random directions among 16: they are not one line


def words():
    return word_tokenizer(["the age is seven"])


def language_model(kind, tied):
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=8, n_embd=16, n_layer=1, n_head=2)
        return GPT2LMHeadModel(config)
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(params=[("llama", True), ("gpt2", True), ("llama", False)])
def extended(request):
    llm, tokenizer = language_model(*request.param), words()
    extend_vocabulary(llm, tokenizer, CODES)
    before = llm.get_input_embeddings().weight.detach().clone()
    lines = extend_number_lines(llm, tokenizer, LINES, LEVELS, seed=1)
    return llm, tokenizer, lines, before


def test_levels_of_a_line_lie_on_a_line_at_equal_distances(extended):
    llm, tokenizer, lines, before = extended
    weight = llm.get_input_embeddings().weight.detach()
    known = len(tokenizer) - LINES * LEVELS
    assert torch.equal(weight[:known], before[:known])
    points = weight[lines.first : lines.first + LINES * LEVELS].unflatten(0, (LINES, LEVELS))
    steps = points.diff(dim=1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), **STEPS)
    mean = before[:known].mean(dim=0)
    length = (before[:known] - mean).norm(dim=1).mean()
    # the middle level has the value 0; the outer ones are 3 lengths away on either side
    middle = points[:, LEVELS // 2]
    torch.testing.assert_close((middle - mean).norm(dim=1), length.expand(LINES))
    torch.testing.assert_close((points[:, 0] - middle).norm(dim=1), (3 * length).expand(LINES))
    directions = torch.nn.functional.normalize(steps[:, 0], dim=1)
    assert (directions @ directions.T - torch.eye(LINES)).abs().max() < MOST_COSINE


def test_tokenizer_and_codes_are_found_again(extended):
    _, tokenizer, lines, _ = extended
    assert NumberLines.find(tokenizer) == lines
    assert CodeVocabulary.find(tokenizer).codes == CODES
    assert (lines.lines, lines.levels) == (LINES, LEVELS)


@pytest.mark.parametrize(
    ("values", "levels"),
    [([-9.0, 0.0, 9.0], [0, 3, 6]), ([-2.4, 0.49, 1.6], [1, 3, 5]), ([1.0, 2.0, 3.0], [4, 5, 6])],
)
def test_a_value_gets_the_nearest_level_of_its_line(values, levels):
    lines = NumberLines(10, LINES, LEVELS)
    wanted = [10 + LEVELS * line + level for line, level in enumerate(levels)]
    assert lines.tokens(torch.tensor(values)).tolist() == wanted


def test_bad_values_and_vocabularies_are_refused(extended):
    llm, tokenizer, lines, _ = extended
    for values in (torch.zeros(LINES + 1), torch.full((LINES,), torch.nan)):
        with pytest.raises(InputError, match="finite"):
            lines.tokens(values)
    with pytest.raises(InputError, match="must not have lines yet"):
        extend_number_lines(llm, tokenizer, 2, 2)
    with pytest.raises(InputError, match="lines of levels in a row, got 0 of 0"):
        NumberLines.find(words())
    with pytest.raises(InputError, match="levels"):
        extend_number_lines(llm, words(), 2, 1)

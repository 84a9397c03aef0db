"""Numbers and answers of a list, against every one of them written out."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from fastbrain.decoding import answer_odds, guess_number
from fastbrain.errors import InputError
from fastbrain.lm import CodeVocabulary, DigitTokens, extend_vocabulary, interleave, mixed_nll
from fastbrain.lm.mixed_sequence import IGNORED, additive, stair_step_mask
from fastbrain.lm.number_odds import NumberOdds, number_log_odds, number_loss
from fastbrain.lm.word_lm import word_tokenizer
from fastbrain.vqlm import Question

TEXTS = ["how old is this person ?", "0 1 2 3 4 5 6 7 8 9", "a man", "a woman", "young"]
MODELS = {
    "llama": lambda n: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=n,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            initializer_range=0.5,
        )
    ),
    "gpt2": lambda n: GPT2LMHeadModel(
        GPT2Config(vocab_size=n, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5)
    ),
}


@pytest.fixture(params=MODELS)
def asked(request):
    torch.manual_seed(0)
    tokenizer = word_tokenizer(TEXTS)
    llm = MODELS[request.param](len(tokenizer)).eval()
    vocabulary = extend_vocabulary(llm, tokenizer, 7)
    return llm, tokenizer, vocabulary


def question(tokenizer, vocabulary, places):
    digits = DigitTokens.find(tokenizer, places=places)
    return Question(tokenizer, vocabulary, digits, TEXTS[0])


def codes(regions=3, steps=4):
    return torch.randint(7, (regions, steps), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def log_probability(llm, row, ids):
    """Of tokens behind a row, one whole pass."""
    blocks = torch.cat([row.blocks, row.blocks[-1] + 1 + torch.arange(len(ids))])
    tokens = torch.cat([row.ids, torch.tensor(ids)])
    logits = llm(
        input_ids=tokens[None], attention_mask=additive(stair_step_mask(blocks), torch.float32)
    ).logits[0, len(row.ids) - 1 : -1]
    return logits, [
        float(step.double().log_softmax(0)[i]) for step, i in zip(logits, ids, strict=True)
    ]


@pytest.mark.parametrize("places", [1, 2, 3])
def test_a_number_is_the_mean_of_all_that_may_be_said(asked, places):
    llm, tokenizer, vocabulary = asked
    ask = question(tokenizer, vocabulary, places)
    row = ask.row(codes())
    ids = torch.tensor(ask.digits.ids)
    odds = []
    for number in itertools.product(range(10), repeat=places):
        logits, _ = log_probability(llm, row, [ask.digits.ids[d] for d in number])
        among = logits[:, ids].double().log_softmax(dim=1)
        odds.append(float(sum(step[d] for step, d in zip(among, number, strict=True))))
    odds = torch.tensor(odds).exp()
    assert float(odds.sum()) == pytest.approx(1, abs=1e-5)
    numbers = torch.arange(10**places, dtype=torch.float64)
    mean = float((odds * numbers).sum())
    found = guess_number(llm, row, ask.digits)
    assert found.mean == pytest.approx(mean, abs=1e-3 * 10**places)
    assert found.sd == pytest.approx(float((odds * (numbers - mean) ** 2).sum().sqrt()), rel=1e-3)
    assert found.likeliest == int(odds.argmax())
    assert 0 < found.spelled < 1


def test_answers_have_the_probability_of_all_their_tokens(asked):
    llm, tokenizer, vocabulary = asked
    row = question(tokenizer, vocabulary, 2).row(codes())
    answers = ["a man", "a woman", "young"]
    totals = []
    for answer in answers:
        ids = tokenizer.encode(answer, add_special_tokens=False)
        totals.append(sum(log_probability(llm, row, ids)[1]))
    expected = torch.tensor(totals, dtype=torch.float64).softmax(0)
    torch.testing.assert_close(
        answer_odds(llm, row, answers, tokenizer), expected, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("answers", [["young"], ["young", ""], ["a man", "a man young"]])
def test_answers_must_be_told_apart(asked, answers):
    llm, tokenizer, vocabulary = asked
    with pytest.raises(InputError, match="answer_odds"):
        answer_odds(llm, question(tokenizer, vocabulary, 2).row(codes()), answers, tokenizer)


def test_rows_of_any_lengths_have_the_loss_they_have_alone(asked):
    llm, tokenizer, vocabulary = asked
    ask = question(tokenizer, vocabulary, 2)
    rows = [ask.row(codes(3, steps), 40 + steps) for steps in (2, 5, 3)]
    nll, labels = mixed_nll(llm, rows)
    alone = [mixed_nll(llm, [row]) for row in rows]
    torch.testing.assert_close(nll, torch.cat([n for n, _ in alone]), rtol=1e-4, atol=1e-5)
    assert torch.equal(labels, torch.cat([told for _, told in alone]))


def test_a_row_predicts_codes_and_the_answer_alone(asked):
    _, tokenizer, vocabulary = asked
    row = question(tokenizer, vocabulary, 2).row(codes(3, 4), 47)
    told = row.labels[row.labels != IGNORED]
    digits = DigitTokens.find(tokenizer).tokens(47)
    assert torch.equal(told[-2:], digits)
    assert (vocabulary.codes_of(told[:-2]) >= 0).all()
    assert len(told) == 3 * 3 + 2
    whole = interleave([codes(3, 4), TEXTS[0], digits], tokenizer, vocabulary)
    assert torch.equal(row.ids, whole.ids)


def test_numbers_have_one_spelling(asked):
    tokenizer = asked[1]
    digits = DigitTokens.find(tokenizer, places=3)
    assert tokenizer.convert_ids_to_tokens(digits.tokens(46.6).tolist()) == ["0", "4", "7"]
    for value in (-1, 999.6, float("nan"), float("inf")):
        with pytest.raises(InputError, match="places"):
            digits.tokens(value)
    with pytest.raises(InputError, match="digits"):
        DigitTokens.find(word_tokenizer(["no digit"]))
    assert CodeVocabulary.find(tokenizer).codes == 7


@pytest.mark.parametrize("places", [1, 2, 3])
def test_one_pass_gives_the_distribution_of_decoding(asked, places):
    llm, tokenizer, vocabulary = asked
    one = question(tokenizer, vocabulary, places)
    rows = [one.row(codes(3, 4)), one.row(codes(2, 3)), one.row(torch.arange(5))]
    with torch.no_grad():
        odds = number_log_odds(llm, rows, one.digits)
    numbers = torch.arange(10**places)
    for i, row in enumerate(rows):
        guess = guess_number(llm, row, one.digits)
        allowed = odds.allowed[i].double().exp()
        assert float(allowed.sum()) == pytest.approx(1, abs=1e-5)
        assert float((allowed * numbers).sum()) == pytest.approx(guess.mean, rel=1e-4)
        assert int(allowed.argmax()) == guess.likeliest
        value = 7 * i + 1
        spelled = one.digits.tokens(value % 10**places).tolist()
        wanted = sum(log_probability(llm, row, spelled)[1])
        assert float(odds.written[i, value % 10**places]) == pytest.approx(wanted, abs=1e-4)


def test_the_loss_reaches_the_weights(asked):
    llm, tokenizer, vocabulary = asked
    one = question(tokenizer, vocabulary, 2)
    odds = number_log_odds(llm, [one.row(codes())], one.digits)
    cross, squared = number_loss(odds, torch.tensor([41.5]), sd=2.0)
    (cross + squared).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in llm.parameters())
    assert float(llm.get_input_embeddings().weight.grad.abs().max()) > 0


def odds_of(weights):
    odds = torch.tensor([weights]).log()
    return NumberOdds(odds, odds.log_softmax(dim=1))


def test_the_loss_of_known_distributions():
    even = odds_of([0.1] * 10)
    cross, squared = number_loss(even, torch.tensor([6.5]), sd=0.7)
    assert float(cross) == pytest.approx(math.log(10), rel=1e-6)
    assert float(squared) == pytest.approx(4.0, rel=1e-5)
    # without a width, the cross-entropy of the number itself, here half of whose mass is words
    half = odds_of([0.25, 0.25, *[1e-12] * 8])
    cross, squared = number_loss(half, torch.tensor([1.0]), sd=0.0)
    assert float(cross) == pytest.approx(math.log(4), rel=1e-6)
    assert float(squared) == pytest.approx(0.25, rel=1e-4)
    # a wrong number costs more the farther away it is
    near, far = odds_of([1e-9] * 4 + [1.0] + [1e-9] * 5), odds_of([1.0] + [1e-9] * 9)
    five = torch.tensor([5.0])
    assert number_loss(near, five, sd=1.0)[0] < number_loss(far, five, sd=1.0)[0]
    assert number_loss(near, five, sd=0.0)[0] == number_loss(far, five, sd=0.0)[0]


def test_bad_input_of_the_loss_is_refused(asked):
    llm, tokenizer, _ = asked
    digits = DigitTokens.find(tokenizer, places=2)
    with pytest.raises(InputError, match="one or more"):
        number_log_odds(llm, [], digits)
    for targets, sd in ((torch.zeros(2), 1.0), (torch.zeros(1), -1.0)):
        with pytest.raises(InputError, match="targets must be"):
            number_loss(odds_of([0.1] * 10), targets, sd=sd)

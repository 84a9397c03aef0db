"""The likeliest tokens of rows of logits, as argmax finds them."""

from __future__ import annotations

import pytest
import torch

from fastbrain.ops.decoder import likeliest


def logits(vocabulary: int, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    # few different numbers, so that the largest is there several times
    return torch.randint(-9, 9, (3, vocabulary), generator=generator).float()


@pytest.mark.parametrize("vocabulary", [1, 5, 16, 1023, 1024, 1025, 5000])
def test_the_first_of_the_largest(vocabulary):
    rows = logits(vocabulary)
    assert likeliest(rows, ()) == rows.argmax(dim=1).tolist()


@pytest.mark.parametrize("vocabulary", [2, 40, 3000])
def test_forbidden_tokens_are_passed_over(vocabulary):
    rows = logits(vocabulary)
    never = [int(rows[0].argmax()), vocabulary + 7]
    expected = rows.clone()
    expected[:, never[0]] = -torch.inf
    assert likeliest(rows, never) == expected.argmax(dim=1).tolist()


@pytest.mark.parametrize("place", [0, 17, 1023, 1030, 1499])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value, place):
    rows = logits(1500)
    rows[1, place] = value
    assert likeliest(rows, ()) is None
    assert likeliest(rows, (place,)) is None


def test_minus_infinity_is_a_logit_as_long_as_another_token_is_left():
    rows = torch.full((1, 70), -torch.inf)
    assert likeliest(rows, ()) is None
    rows[0, 69] = -3.0
    assert likeliest(rows, ()) == [69]
    assert likeliest(rows, (69,)) is None

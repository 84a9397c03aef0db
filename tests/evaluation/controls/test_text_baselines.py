"""Texts without a brain, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import majority_text, nearest_training_texts, template_text


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a cat", "a dog", "a dog"], "a dog"),
        (["a  cat ", "a cat", "dog"], "a cat"),
        # all unique: the one made of the commonest words
        (["the red fox", "a cat sees a dog", "a dog sees a fox"], "a dog sees a fox"),
        (["b", "a"], "a"),
    ],
)
def test_majority(texts, expected):
    assert majority_text(texts) == expected


def test_template():
    texts = ["a man sees a ball", "a man has a cake now", "a dog sees a ball", "a man sees it"]
    assert template_text(texts) == "a man sees a ball"
    assert template_text(["b", "a"]) == "a"


def test_nearest_by_correlation_after_the_training_mean():
    bank = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]) + 100
    own = 100 + np.array([[0.1, 3, 0], [5, 0, 1]])
    assert nearest_training_texts(own, bank, ["x", "y", "z"]) == ["y", "x"]


@pytest.mark.parametrize("function", [majority_text, template_text])
@pytest.mark.parametrize("texts", [[], ["a", " "]])
def test_empty_texts_are_refused(function, texts):
    with pytest.raises(InputError, match="hold words"):
        function(texts)


def test_a_bank_needs_its_texts():
    with pytest.raises(InputError, match=r"train_features \(M >= 1, D\)"):
        nearest_training_texts(np.eye(3), np.eye(3), ["x"])

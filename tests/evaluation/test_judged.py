"""A second language model judges the fluency of all texts of an evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from known import made

from fastbrain.errors import InputError
from fastbrain.evaluation import evaluate_text
from fastbrain.evaluation.judged import check_fluency_model, with_fluency


@pytest.fixture(scope="module")
def evaluation():
    texts = [f"a ball {i}" for i in range(12)]
    return evaluate_text(*made(texts, 1.0 - np.eye(12), truth=texts), bert=False)


def test_every_set_of_texts_is_judged(evaluation, language_folder):
    found = with_fluency(evaluation, str(language_folder)).facts["fluency"]
    assert found["decoded"]["nll"] == found["truth"]["nll"] > 0
    assert language_folder.name in found["decoded"]["signature"]
    assert found["decoded"]["distinct1"] == evaluation.facts["fluency"]["decoded"]["distinct1"]


def test_without_a_model_nothing_changes(evaluation):
    assert with_fluency(evaluation) is evaluation
    check_fluency_model(None, function="f")


def test_a_model_that_is_not_there_is_refused_before_work(tmp_path):
    with pytest.raises(InputError, match="some_function"):
        check_fluency_model(str(tmp_path / "absent"), function="some_function")

import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import Score
from fastbrain.stats import Interval


def test_a_score_is_plain_json():
    score = Score("bleu1", "free-running", 0.5, 7, 0.2, "deranged brain", 0.01, Interval(0.4, 0.6))
    row = score.to_json()
    assert row["interval"] == {"low": 0.4, "high": 0.6, "level": 0.95}
    assert row["control"] == "deranged brain"


def test_a_chance_level_without_its_origin_is_refused():
    with pytest.raises(InputError, match="control must say"):
        Score("bleu1", "free-running", 0.5, 7, chance=0.2)


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="mode must be one of"):
        Score("bleu1", "guessed", 0.5, 7)

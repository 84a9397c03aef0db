"""Objects of JSON files with exactly the keys of their rules."""

from __future__ import annotations

import pytest

from fastbrain._rules import anything, checked_record, count, text
from fastbrain.errors import SplitError

RULES = {"name": text, "size": count, "more": anything}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1], "keys must be .* got list"),
        ({"name": "a", "more": 0}, r"keys must be .* got \['more', 'name'\]"),
        ({"name": "a", "size": 1, "more": 0, 3: 4}, "keys must be"),
        ({"name": "a", "size": -1, "more": 0}, "size has the wrong type or value, got -1"),
        ({"name": "a", "size": True, "more": 0}, "size has the wrong type or value, got True"),
    ],
)
def test_what_does_not_fit_is_named(value, said):
    with pytest.raises(SplitError, match=f"Here.from_json: {said}"):
        checked_record(value, RULES, where="Here.from_json", error=SplitError)


def test_optional_keys_may_be_missing():
    value = {"name": "a", "size": 1}
    found = checked_record(value, RULES, where="here", error=SplitError, optional=("more",))
    assert found == value
    assert found is not value

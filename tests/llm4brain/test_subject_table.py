"""A table of people: the identity at first, one entry each, and nobody by accident."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fastbrain.errors import ConfigError, UnknownSubjectError
from fastbrain.llm4brain import SubjectTable


@pytest.mark.parametrize("kind", ["embedding", "affine"])
def test_a_fresh_table_changes_nothing(make_model, small_config, grid, kind):
    torch.manual_seed(0)
    plain = make_model(config=small_config).eval()
    torch.manual_seed(0)
    config = replace(small_config, subjects=kind, people=("01", "02"))
    knowing = make_model(config=config).eval()
    knowing.load_state_dict(plain.state_dict(), strict=False)
    voxels = torch.randn(3, 2, grid.n_tokens, grid.patch_voxels)
    assert torch.equal(knowing.prefix(voxels, ["01", "02", "01"]), plain.prefix(voxels))
    # who reads a plain model need not know whose brain it is
    assert torch.equal(plain.prefix(voxels, ["09"] * 3), plain.prefix(voxels))


@pytest.mark.parametrize("kind", ["embedding", "affine"])
def test_an_entry_learns_from_its_own_windows_alone(kind):
    table = SubjectTable(kind, ["01", "02"], 3, unknown="refuse")
    tokens = torch.randn(2, 4, 3)
    table(tokens, ["02", "02"]).square().sum().backward()
    assert all(p.grad is None for p in table.entry("01"))
    assert all(bool(p.grad.any()) for p in table.entry("02"))
    assert len(table.entry("01")) == (2 if kind == "affine" else 1)


def test_an_affine_entry_is_a_gain_and_a_shift():
    table = SubjectTable("affine", ["a", "b"], 2, unknown="refuse")
    shift, gain = table.entry("b")
    with torch.no_grad():
        shift.copy_(torch.tensor([1.0, -1.0]))
        gain.copy_(torch.tensor([0.5, 1.0]))
    tokens = torch.tensor([[[2.0, 3.0]], [[2.0, 3.0]]])
    assert table(tokens, ["a", "b"]).tolist() == [[[2.0, 3.0]], [[4.0, 5.0]]]
    with pytest.raises(UnknownSubjectError, match=r"got c\. Fit an entry"):
        table(tokens, ["a", "c"])
    table.meet_unknown("mean")
    assert table(tokens, ["c", "c"])[0].tolist() == [[3.0, 4.0]]
    table.add("c")
    assert table.people == ("a", "b", "c")
    table.meet_unknown("refuse")
    assert table(tokens, ["c", "c"])[0].tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize(
    "values", [{"subjects": "matrix"}, {"people": ("1", "1")}, {"unknown_subject": "guess"}]
)
def test_settings_of_the_table_are_checked(small_config, values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        replace(small_config, **values)

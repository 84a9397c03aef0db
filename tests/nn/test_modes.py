"""Evaluation mode for a while: restored as it was, also after an error."""

from __future__ import annotations

import pytest
from torch import nn

from fastbrain.nn.modes import evaluating


def refused(model: nn.Module) -> None:
    with evaluating(model):
        raise KeyError(model.training)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored_after_an_error(training):
    model = nn.Sequential(nn.Dropout()).train(training)
    with pytest.raises(KeyError, match="False"):
        refused(model)
    assert model.training == training
    assert model[0].training == training

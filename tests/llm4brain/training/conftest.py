"""A tiny cohort and model without files, and a cohort with a task and at rest."""

import pytest
from rest_and_task import cohorts, stores  # noqa: F401
from tiny_training import (  # noqa: F401
    frames,
    grid,
    language,
    make_loader,
    make_model,
)


@pytest.fixture
def model_for(make_model):  # noqa: F811
    """Factory: a model as a preset of the stages means it; the readout is of "fastbrain" alone."""
    return lambda name: make_model() if name == "fastbrain" else make_model(readout_rank=0)

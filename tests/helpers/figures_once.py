"""Figures of evaluations that are not about figures: drawn once for each form, then shown again."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

_DRAWN: dict[object, dict[str, Any]] = {}


@pytest.fixture(autouse=True, scope="module")
def figures_once():
    """Keeps the first figures of each form; ``tests/evaluation/report`` looks at all of them."""
    from fastbrain.evaluation.report import html, outputs, paper

    def drawn(evaluation, parts):
        geometry = None if parts.grid is None else parts.grid.geometry
        form = geometry, *parts.history, bool(evaluation.surprise)
        if form not in _DRAWN:
            _DRAWN[form] = draw(evaluation, parts)
        return _DRAWN[form]

    draw = outputs.drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "drawn", drawn)
        patch.setattr(html, "saved", _saved)
        patch.setattr(paper, "saved", _saved)
        yield


@cache
def _saved(figure: Any, kind: str) -> bytes:
    from fastbrain.evaluation.report.print_style import saved

    return saved(figure, kind)

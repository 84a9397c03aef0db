"""Instruction sets of this machine as parameters of tests; ``make check`` tries the best alone."""

from __future__ import annotations

import pytest

from fastbrain import _native

# what the machine chooses runs in the contract tests as well
ISAS = [pytest.param(isa, marks=pytest.mark.slow) for isa in _native.isas()]
OTHER_ISAS = ISAS[:-1]

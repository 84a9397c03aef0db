"""Samples on disk."""

from __future__ import annotations

import numpy as np
import pytest
from known import perfect

from fastbrain.errors import InputError
from fastbrain.evaluation import evaluate_text, read_samples, sample_scores, write_samples


def test_samples_come_back_with_controls_and_scores(tmp_path):
    result = evaluate_text(*perfect(), bert=False)
    columns = read_samples(write_samples(tmp_path / "samples.parquet", result))
    assert columns["truth"] == [s.truth for s in result.samples]
    assert columns["block"] == list(result.conditions.blocks)
    assert columns["deranged"] == list(result.permuted)
    assert columns["text: majority text"] == [result.samples[0].truth] * 16
    deranged = result.conditions["deranged brain"].nll
    assert columns["nll: deranged brain"] == pytest.approx(deranged.mean(axis=0))
    scores = sample_scores(columns)
    assert set(scores) >= {"pairwise", "rougeL_f", "wer"}
    assert np.array_equal(scores["pairwise"], result.per_sample["pairwise"])


def test_what_is_no_samples_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="must exist"):
        read_samples(tmp_path / "samples.parquet")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="Parquet file"):
        read_samples(tmp_path / "x.parquet")

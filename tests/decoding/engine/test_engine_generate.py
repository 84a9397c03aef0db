"""The engine's texts against those of Hugging Face's generate, for every architecture."""

from __future__ import annotations

import pytest
from engine_models import EOS, KINDS, engine_model, hugging_face, some_embeds

from fastbrain.decoding import DecodeEngine, Sampling


@pytest.fixture(params=KINDS)
def llm(request: pytest.FixtureRequest):
    return engine_model(request.param)


CASES = {
    "greedy": (Sampling(max_new_tokens=9), {"num_beams": 1}),
    "greedy-min": (
        Sampling(max_new_tokens=9, min_new_tokens=5),
        {"num_beams": 1, "min_new_tokens": 5},
    ),
    "greedy-penalty": (
        Sampling(max_new_tokens=9, repetition_penalty=2.0),
        {"num_beams": 1, "repetition_penalty": 2.0},
    ),
    "beam": (Sampling("beam", max_new_tokens=9, beams=3), {"num_beams": 3}),
    "beam-length": (
        Sampling("beam", max_new_tokens=7, beams=5, length_penalty=0.3, min_new_tokens=2),
        {"num_beams": 5, "length_penalty": 0.3, "min_new_tokens": 2},
    ),
    "beam-penalty": (
        Sampling("beam", max_new_tokens=8, beams=4, repetition_penalty=1.5),
        {"num_beams": 4, "repetition_penalty": 1.5},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_hugging_face_generate(llm, case):
    sampling, options = CASES[case]
    embeds = some_embeds(5, 7)
    expected = hugging_face(llm, embeds, max_new_tokens=sampling.max_new_tokens, **options)
    engine = DecodeEngine(llm, max_tokens=24, batch=5)
    found = engine.generate(embeds, sampling=sampling, eos_token_id=EOS)
    assert [list(row) for row in found.tokens] == expected

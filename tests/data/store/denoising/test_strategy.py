"""A strategy is parsed from presets and terms, refuses nonsense, and survives JSON."""

from __future__ import annotations

import json

import pytest

from fastbrain.data import Denoising
from fastbrain.data.store.denoising.strategy import PRESETS
from fastbrain.errors import InputError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    found = Denoising.parse([name])
    assert Denoising.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.regressors()


@pytest.mark.parametrize(
    ("terms", "fields"),
    [
        (["motion:6"], {"motion": "basic"}),
        (["motion:12"], {"motion": "derivatives"}),
        (["motion:24"], {"motion": "full"}),
        (["motion:power2", "wm_csf"], {"motion": "power2", "wm_csf": "basic"}),
        (["global_signal:full"], {"global_signal": "full"}),
        (["compcor"], {"compcor": "anat_combined", "n_compcor": 5}),
        (["compcor:anat_separated:all"], {"compcor": "anat_separated", "n_compcor": "all"}),
        (["compcor:temporal:3"], {"compcor": "temporal", "n_compcor": 3}),
        (["high_pass"], {"cosine": True}),
        (["fd:0.5", "dvars:1.5", "scrub:5"], {"fd_threshold": 0.5, "std_dvars_threshold": 1.5}),
        (["standard", "fd:0.3"], {"motion": "full", "wm_csf": "basic", "fd_threshold": 0.3}),
        (["standard", "motion:6"], {"motion": "basic", "wm_csf": "basic"}),
    ],
)
def test_terms(terms, fields):
    found = Denoising.parse(terms)
    assert {name: getattr(found, name) for name in fields} == fields


@pytest.mark.parametrize(
    "terms",
    [
        ([]),
        (["motion:7"]),
        (["motion:6", "standard"]),
        (["wm_csf:24"]),
        (["compcor:anat:5"]),
        (["compcor:temporal:0"]),
        (["fd:-1"]),
        (["fd:nan"]),
        (["fd"]),
        (["scrub:5", "motion"]),
        (["motion", "motion:24"]),
        (["cosine:3"]),
        ([""]),
    ],
)
def test_refused_terms(terms):
    with pytest.raises(InputError, match="Denoising"):
        Denoising.parse(terms)


@pytest.mark.parametrize("change", [{"motion": "most"}, {"fd_threshold": float("nan")}, {"x": 1}])
def test_refused_json(change):
    with pytest.raises(InputError):
        Denoising.from_json(Denoising.parse(["standard"]).to_json() | change)


def test_description_names_what_is_removed_and_censored():
    text = Denoising.parse(["scrubbing", "compcor:anat_separated:5"], censor="keep").describe()
    assert "squares of both" in text["confounds"]
    assert "CompCor anat separated (the first 5 components of each kind)" in text["confounds"]
    assert "0.5 mm" in text["censored"]
    assert "kept as they are" in text["censored"]

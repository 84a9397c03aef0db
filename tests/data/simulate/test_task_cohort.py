"""The simulated cohort is valid BIDS, seeded, and says the truth about its signal."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastbrain.data import CohortDesign, load_volumes, read_runs_table, simulate_cohort
from fastbrain.data.readers.clips import read_clip, write_clip
from fastbrain.data.simulate.captions import N_CAPTIONS, SLOTS, all_meanings, draw_meanings
from fastbrain.data.simulate.clips import draw_clip
from fastbrain.data.simulate.task_cohort import _signal
from fastbrain.data.simulate.template_brain import TemplateBrain, noise_psc
from fastbrain.errors import CohortError, InputError, OutputExistsError

pytest.importorskip("nilearn")
SMALL = CohortDesign(subjects=2, runs=2, trials=3, resolution_mm=8, fwhm_mm=16.0, snr=0.5)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return simulate_cohort(tmp_path_factory.mktemp("sim") / "cohort", SMALL)


def test_reads_back_through_the_library(table):
    runs = read_runs_table(table)
    assert [r.run_id for r in runs] == [f"sub-{s:02d}_run-{r:02d}" for s in (1, 2) for r in (1, 2)]
    volumes = load_volumes(runs[0].bold)
    assert volumes.tr == SMALL.tr
    assert volumes.shape[0] == SMALL.volumes
    assert volumes.dtype == np.int16
    assert not [note for note in volumes.notes if note.level == "error"]


def test_no_two_people_share_a_stimulus(table):
    lines = [p.read_text().splitlines()[1:] for p in sorted(table.parent.rglob("*_events.tsv"))]
    stimuli = [line.split("\t")[4] for run in lines for line in run]
    assert len(stimuli) == len(set(stimuli)) == 12


def test_design_is_written_beside_the_data(table):
    design = json.loads((table.parent / "design.json").read_text())
    assert design["snr"] == 0.5
    assert json.loads((table.parent / "dataset_description.json").read_text())["BIDSVersion"]


def test_equal_seeds_give_equal_bytes(table, tmp_path):
    again = simulate_cohort(tmp_path / "again", SMALL).parent
    for path in sorted(table.parent.rglob("*.nii.gz")):
        assert (again / path.relative_to(table.parent)).read_bytes() == path.read_bytes()


def test_an_existing_folder_is_refused(table):
    with pytest.raises(OutputExistsError):
        simulate_cohort(table.parent, SMALL)


@pytest.mark.parametrize("snr", [0.0, 0.25, 2.0])
def test_snr_is_what_it_says(snr):
    design = CohortDesign(trials=40, resolution_mm=8, snr=snr)
    rng = np.random.default_rng(0)
    brain = TemplateBrain.load(
        resolution_mm=design.resolution_mm, fwhm_mm=design.fwhm_mm, function="test"
    )
    signal = _signal(draw_meanings(40, rng), brain.maps(24, rng), design)
    grey = brain.grey > 0.5
    ratio = signal[:, grey].std(0).mean() / 1.0
    # 24 random maps and 40 random captions: the realised ratio scatters by a few percent
    assert ratio == pytest.approx(snr, rel=0.35)
    assert (signal == 0).all() == (snr == 0)


def test_noise_has_its_autocorrelation():
    design = CohortDesign(trials=80, ar1=0.4)
    noise = noise_psc(3000, design.volumes, design.ar1, np.random.default_rng(1))
    t = np.linspace(0, 1, len(noise))
    basis = np.stack([np.ones_like(t), t, np.cos(np.pi * t)], axis=1)
    noise = noise - basis @ np.linalg.lstsq(basis, noise, rcond=None)[0]
    assert np.mean(noise[1:] * noise[:-1]) / np.mean(noise**2) == pytest.approx(0.4, abs=0.02)


def test_the_grammar_has_the_size_it_claims():
    meanings = all_meanings()
    assert len({m.caption for m in meanings}) == len({m.stimulus for m in meanings}) == N_CAPTIONS
    assert np.prod([len(v) for v in SLOTS.values()]) == N_CAPTIONS == 1296
    with pytest.raises(InputError, match="1296"):
        draw_meanings(N_CAPTIONS + 1, np.random.default_rng(0))


def test_clips_survive_the_video_file(tmp_path):
    meaning = all_meanings()[777]
    video = draw_clip(meaning, np.random.default_rng(0), frames=8, size=32)
    read = read_clip(write_clip(tmp_path / "clip.mp4", video), frames=8, size=32)
    assert read.shape == (8, 3, 32, 32)
    # lossy: mpeg4 at 400 kb/s moved the mean pixel by 0.03 at most in 100 clips
    assert np.abs(read - video.transpose(0, 3, 1, 2) / 255).mean() < 0.06


def test_every_slot_value_looks_different():
    base = all_meanings()[0]
    for slot, values in SLOTS.items():
        seen = set()
        for value in range(len(values)):
            fields = dict(zip(SLOTS, base.indices, strict=True)) | {slot: value}
            video = draw_clip(type(base)(**fields), np.random.default_rng(0))
            seen.add(video.tobytes())
        assert len(seen) == len(values)


def test_a_file_that_is_no_video_is_refused(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"nothing of the kind")
    with pytest.raises(CohortError, match="readable video"):
        read_clip(tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    "bad",
    [{"subjects": 0}, {"snr": -1.0}, {"snr": float("nan")}, {"consistency": 2.0}, {"ar1": 1.0}],
)
def test_impossible_designs_are_refused(bad):
    with pytest.raises(InputError, match="CohortDesign"):
        CohortDesign(**bad)

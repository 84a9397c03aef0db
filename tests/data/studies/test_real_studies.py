"""Public data sets made ready, on the real events of HAD and BOLD5000."""

from __future__ import annotations

import json
import tarfile

import pytest

from fastbrain.data import (
    Study,
    audit_trials,
    known_dataset,
    plan_study,
    split_by,
    split_unseen,
)
from fastbrain.data.studies.had import action_phrase
from fastbrain.errors import CohortError


def unseen(*subjects):
    return lambda trials: split_unseen(trials, test_subjects=subjects, closed_set=True)


@pytest.fixture(scope="module")
def had(real_data) -> Study:
    study = plan_study(real_data / "had_bids", "had", split=unseen("17", "18", "19", "20"))
    assert audit_trials(study.trials, study.split).clean
    return study


@pytest.mark.slow
def test_real_had_has_every_trial_of_every_person(had):
    assert (len(had.runs), len(had.trials)) == (240, 14_400)
    assert len({t.subject for t in had.trials}) == 20
    assert len({t.category for t in had.trials}) == 180
    sizes = {name: len(had.split.part(name)) for name in ("train", "val", "test")}
    assert sizes["test"] == 4 * 720
    assert sum(sizes.values()) + had.split.unused == 14_400


@pytest.mark.slow
def test_real_had_onsets_are_shifted_by_twelve_seconds(had, real_data):
    events = (
        real_data
        / "had_bids/sub-01/ses-action01/func/sub-01_ses-action01_task-action_run-01_events.tsv"
    )
    onset = float(events.read_text().splitlines()[2].split("\t")[0])
    second = had.trials[1]
    # 12 s of the data set, 4 s of delay, 2 s a volume
    assert second.start == round((onset + 12.0 + 4.0) / 2.0) == 10
    assert max(t.start + t.frames for t in had.trials) <= 156


@pytest.mark.slow
def test_real_had_classes_are_those_of_the_stimuli(had, real_data):
    names = (real_data / "had_bids/action_names.txt").read_text().splitlines()
    rows = {}
    for run in had.runs:
        for number, line in enumerate(run.events.read_text().splitlines()[1:], start=1):
            rows[f"{run.run_id}_trial-{number:03d}"] = int(float(line.split("\t")[2]))
    pairs = {(rows[t.trial_id], t.category) for t in had.trials}
    assert len(pairs) == 180
    # the list sorts "Painting" behind "Painting furniture", the numbers before "Painting fence"
    assert {k for k, action in pairs if names[k - 1] != action} == {86, 87, 88}
    assert all(action_phrase(t.category) in t.text for t in had.trials)
    instructions = known_dataset("had").instructions
    shares = [sum(t.instruction == i for t in had.trials) / 14_400 for i in instructions]
    assert all(abs(share - 0.25) < 0.02 for share in shares)


@pytest.mark.slow
def test_real_had_without_images_is_one_error(had):
    with pytest.raises(CohortError) as caught:
        had.check_images()
    told = str(caught.value)
    assert "240 absent" in told
    assert "sub-01_ses-action01_task-action_run-01_bold.nii.gz" in told
    assert "datalad get ." in told
    assert "openneuro-py download --dataset ds004488" in told
    assert "https://openneuro.org/datasets/ds004488" in told


@pytest.mark.slow
def test_real_had_clone_counts_what_has_to_be_fetched(real_data, tmp_path):
    name = "sub-01_as_cloned_with_dangling_annex_links.tar.gz"
    with tarfile.open(real_data / "had_bids" / name) as archive:
        archive.extractall(tmp_path, filter=lambda member, _: member)

    def by_run(trials):
        runs = [f"{r:02d}" for r in range(1, 13)]
        return split_by(trials, "run", train=runs[:10], val=runs[10:11], test=runs[11:])

    study = plan_study(tmp_path, "had", split=by_run)
    with pytest.raises(CohortError, match=r"12 are links to data not fetched \(1\.8 GB\)"):
        study.check_images()


@pytest.fixture(scope="module")
def bold5000(real_data) -> Study:
    def by_session(trials):
        return split_by(
            trials, "session", train=["01", "02"], val=["03"], test=["04"], new_stimuli=True
        )

    return plan_study(
        real_data / "bold5000_captions", "bold5000", split=by_session, categories=["coco"]
    )


def test_real_bold5000_says_what_people_wrote(bold5000, real_data):
    captions = json.loads((real_data / "bold5000_captions/captions.json").read_text())
    assert len(bold5000.trials) == 546 + 32
    for trial in bold5000.trials:
        assert trial.text in [" ".join(c.split()) for c in captions[trial.stimulus]]
    assert audit_trials(bold5000.trials, bold5000.split).clean
    # repeated photographs are what a split by session alone would leak
    assert bold5000.split.unused > 0
    assert bold5000.split.keys == ("session", "stimulus")


def test_real_bold5000_names_what_has_no_caption(real_data):
    study = plan_study(
        real_data / "bold5000_captions",
        "bold5000",
        split=lambda t: split_by(
            t, "session", train=["01", "02"], val=["03"], test=["04"], closed_set=True
        ),
    )
    assert len(study.trials) == 1443
    texts = {t.stimulus: t.text for t in study.trials}
    assert texts["n01930112_19568.JPEG"].endswith("a nematode.")
    assert texts["concert5.jpg"].endswith("a concert.")
    assert study.surrogates[0].model == "captions, else class names"

"""Studies of stories and passages: words, prompts, windows and splits from published layouts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from surface_cohort import series, write_func, write_surfaces

from fastbrain import cli
from fastbrain.data import (
    StoryDesign,
    Study,
    plan_stories,
    read_gentle,
    read_words,
    simulate_stories,
    split_by,
    split_story_blocks,
)
from fastbrain.errors import CohortError, ConfigError, InputError, SplitError

TALES = ("tale1", "tale2", "tale3")
SMALL = {"subjects": 2, "stories": 3, "volumes": 61, "resolution_mm": 8}


def by_story(trials):
    return split_by(trials, "story", train=["tale1"], val=["tale2"], test=["tale3"])


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    pytest.importorskip("nilearn")
    folder = tmp_path_factory.mktemp("stories")
    return {
        name: simulate_stories(folder / name, StoryDesign(layout=name, **SMALL))
        for name in ("narratives", "lebel")
    }


@pytest.fixture
def copy(roots, tmp_path):
    return {name: shutil.copytree(root, tmp_path / name) for name, root in roots.items()}


@pytest.mark.parametrize(("name", "tr", "onset"), [("narratives", 1.5, 15.0), ("lebel", 2.0, 10.0)])
@pytest.mark.parametrize("prompt", [0, 2, 3])
def test_segments_prompts_and_windows(roots, name, tr, onset, prompt):
    """Against words assigned to volumes one by one."""
    root = roots[name]
    study = plan_stories(root, name, split=by_story, prompt_trs=prompt)
    words = {
        tale: read_gentle(root / f"stimuli/gentle/{tale}/align.csv")
        if name == "narratives"
        else read_words(root / f"derivative/TextGrids/{tale}.TextGrid")
        for tale in TALES
    }

    def said(tale, first, last):
        times = [(w.onset + onset, w.text) for w in words[tale]]
        return " ".join(text for t, text in times if first * tr - 1e-9 <= t < last * tr - 1e-9)

    assert len({t.trial_id for t in study.trials}) == len(study.trials)
    for trial in study.trials:
        begin = round(trial.onset / tr)
        assert trial.onset == begin * tr
        assert begin >= int(onset / tr)
        assert trial.text == said(trial.story, begin, begin + 4)
        assert trial.prompt == said(trial.story, begin - prompt, begin)
        # the four volumes after the segment
        assert (trial.start, trial.frames, trial.guard_trs) == (begin + 4, 4, 8)
        assert trial.start + trial.frames <= SMALL["volumes"]
        assert trial.stimulus == f"{trial.story}-{(begin - int(onset / tr)) // 4:04d}"
    last = {t.run_id: t.start + 4 for t in study.trials}
    assert min(last.values()) > SMALL["volumes"] - 12
    assert {t.story for t in study.trials} == set(TALES)
    assert [r.subject for r in study.runs] == sorted(r.subject for r in study.runs)


def test_options_move_windows_and_people_are_chosen(roots):
    study = plan_stories(
        roots["lebel"],
        "lebel",
        split=lambda t: split_story_blocks(t, blocks=3),
        subjects=["UTS02"],
        stories=["tale2"],
        segment_trs=2,
        window_trs=3,
        delay_s=5.0,
        prompt_trs=1,
    )
    assert {(t.subject, t.story) for t in study.trials} == {("UTS02", "tale2")}
    assert {t.start - round(t.onset / 2) for t in study.trials} == {3}  # 5 s is nearest to it
    assert {t.frames for t in study.trials} == {3}
    for options, error, told in (
        ({"subjects": ["9"]}, ConfigError, "subjects must be among"),
        ({"stories": ["tale1", "tail"]}, ConfigError, "stories must be among"),
        ({"segment_trs": 0}, ConfigError, "segment_trs"),
        ({"prompt_trs": -1}, ConfigError, "prompt_trs"),
        ({"segment_trs": 90}, CohortError, "must have volumes for a window"),
        ({"words": roots["lebel"] / "nowhere"}, CohortError, "0 TextGrids"),
        ({"clock": "audio"}, ConfigError, "clock must be left out for LeBel"),
    ):
        with pytest.raises(error, match=told):
            plan_stories(roots["lebel"], "lebel", split=by_story, **options)
    with pytest.raises(ConfigError, match="words must be left out for Narratives"):
        plan_stories(roots["narratives"], "narratives", split=by_story, words=roots["lebel"])


@pytest.mark.parametrize("fold", range(4))
def test_blocks_are_contiguous_the_same_for_all_and_guarded(roots, fold):
    study = plan_stories(
        roots["narratives"],
        "narratives",
        split=lambda t: split_story_blocks(t, blocks=4, fold=fold),
        segment_trs=2,
        window_trs=2,
    )
    split, trials = study.split, {t.trial_id: t for t in study.trials}
    part = {i: name for name in ("train", "val", "test") for i in split.part(name)}
    for story in TALES:
        for run in {t.run_id for t in study.trials if t.story == story}:
            tested = [t for t in study.trials if t.run_id == run and part.get(t.trial_id) == "test"]
            numbers = [int(t.stimulus[-4:]) for t in tested]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len({trials[i].stimulus for i in split.test}) * 2 == len(split.test)  # two people
    for i in (*split.train, *split.val):
        for j in split.test:
            a, b = trials[i], trials[j]
            assert a.stimulus != b.stimulus
            if a.run_id == b.run_id:
                assert abs(a.start - b.start) - 2 >= 4
                assert b.text not in a.prompt
    assert split.unused > 0


def test_blocks_of_segments_without_numbers_follow_their_onsets(roots):
    trials = plan_stories(roots["narratives"], "narratives", split=by_story).trials
    stimuli = sorted({t.stimulus for t in trials})
    # their names sort from the last segment to the first
    names = {name: "x" * (len(stimuli) - i) for i, name in enumerate(stimuli)}
    unnumbered = [replace(t, stimulus=names[t.stimulus]) for t in trials]
    split = split_story_blocks(unnumbered, blocks=3, guard_trs=0)
    for story in TALES:
        starts = sorted({t.start for t in trials if t.story == story})
        tested = sorted({t.start for t in trials if t.story == story and t.trial_id in split.test})
        assert tested == starts[: len(tested)]


def test_blocks_that_cannot_be(roots):
    trials = plan_stories(roots["narratives"], "narratives", split=by_story).trials
    for options, told in (
        ({"blocks": 2}, "blocks must be >= 3 .*, got 2 and 0"),
        ({"blocks": 4, "fold": 4}, r"fold 0\.\.blocks - 1, got 4 and 4"),
        ({"blocks": 99}, "must have at least 99 segments"),
    ):
        with pytest.raises(SplitError, match=told):
            split_story_blocks(trials, **options)
    with pytest.raises(SplitError, match="story"):
        split_story_blocks([replace(t, story="") for t in trials], blocks=3)


def test_exclusions_versions_and_absent_images_of_narratives(copy, capsys):
    root = copy["narratives"]
    exclude = {"tale1": {"sub-001": ["sub-001_task-tale1"]}}
    (root / "code/scan_exclude.json").write_text(json.dumps(exclude))
    # one transcript for each condition, as milkyway has
    (root / "stimuli/gentle/tale2").rename(root / "stimuli/gentle/tale2vodka")
    people = (root / "participants.tsv").read_text().replace("n/a,n/a,n/a", "n/a,vodka,n/a")
    (root / "participants.tsv").write_text(people)
    (image,) = root.glob("sub-001/func/*tale3_bold.nii.gz")
    image.unlink()
    study = plan_stories(root, "narratives", split=by_story)
    assert "1 runs that the authors exclude" in capsys.readouterr().err
    assert "sub-001_run-tale1" not in {r.run_id for r in study.runs}
    assert {t.stimulus[:-5] for t in study.trials if t.story == "tale2"} == {"tale2vodka"}
    assert list(study.absent.missing) == [image]
    # until the image is there, windows end with the story
    ends = {t.run_id: t.start + t.frames for t in study.trials if t.story == "tale3"}
    assert ends["sub-001_run-tale3"] <= ends["sub-002_run-tale3"]
    assert ends["sub-001_run-tale3"] <= np.ceil((15.0 + 61 * 1.5 - 27) / 1.5)
    with pytest.raises(CohortError, match="ds002345"):
        study.check_images()


def test_words_on_the_clock_of_the_audio_are_told_apart(copy):
    root = copy["narratives"]
    for path in root.glob("stimuli/gentle/*/align.csv"):
        words = read_gentle(path)
        late = [f"{w.text},{w.text},{w.onset + 15.0},{w.offset + 15.0}" for w in words]
        path.write_text("\n".join(late) + "\n")
    with pytest.raises(CohortError, match="--clock audio"):
        plan_stories(root, "narratives", split=by_story)
    moved = plan_stories(root, "narratives", split=by_story, clock="audio")
    for path in root.glob("stimuli/gentle/*/align.csv"):
        words = [(w.text, w.onset - 15.0, w.offset - 15.0) for w in read_gentle(path)]
        path.write_text("".join(f"{t},{t},{a},{b}\n" for t, a, b in words))
    assert [t.text for t in plan_stories(root, "narratives", split=by_story).trials] == [
        t.text for t in moved.trials
    ]


def test_gentle_keeps_words_without_a_time(tmp_path):
    (tmp_path / "align.csv").write_text("Um,,,\nOnce,once,0.5,0.8\nupon,<unk>,,\na,a,1.0,1.1\n")
    words = read_gentle(tmp_path / "align.csv")
    assert [(w.text, w.onset, w.offset) for w in words] == [
        ("Um", 0.5, 0.5), ("Once", 0.5, 0.8), ("upon", 0.8, 0.8), ("a", 1.0, 1.1),
    ]  # fmt: skip
    told = [
        {"word": "Um", "case": "not-found-in-audio"},
        {"word": "Once", "case": "success", "start": 0.5, "end": 0.8},
        {"word": "upon", "case": "not-found-in-audio"},
        {"word": "a", "case": "success", "start": 1.0, "end": 1.1},
    ]
    (tmp_path / "align.json").write_text(json.dumps({"words": told}))
    assert read_gentle(tmp_path / "align.json") == words
    for text in ("a,a,2.0,1.0\n", "a,a,x,1.0\n", "a,,,\n"):
        (tmp_path / "align.csv").write_text(text)
        with pytest.raises(CohortError, match="read_gentle"):
            read_gentle(tmp_path / "align.csv")


@pytest.mark.parametrize("name", ["narratives", "lebel"])
def test_the_command_writes_a_study_that_prepare_reads(roots, name, tmp_path, capsys):
    out, store = tmp_path / "study", tmp_path / "store"
    parts = ["--split-by", "story", "--train", "tale1", "--val", "tale2", "--test", "tale3"]
    # without prompts, in which phrases of other stories recur: the grammar is small
    parts += ["--prompt-trs", "0"]
    assert cli.main(["study", name, str(roots[name]), str(out), *parts]) == 0
    said = capsys.readouterr().out
    assert "3: tale1, tale2, tale3" in said
    assert "no leak found" in said
    assert Study.load(out).dataset.name == name
    assert cli.main(["prepare", str(out), str(store), "--kernel", "4", "4", "4", "--dry-run"]) == 0
    assert cli.main(["study", name, str(roots[name]), str(out), *parts]) == 1
    assert cli.main(["study", name, str(roots[name]), f"{out}2", *parts, "--blocks", "3"]) == 1


@pytest.mark.parametrize(("name", "tr"), [("narratives", 1.5), ("lebel", 2.0)])
def test_images_on_surfaces_are_found_by_their_space(copy, name, tr, tmp_path, capsys):
    for image in sorted(copy[name].glob("sub-*/**/*_bold.nii.gz")):
        stem = image.name.removesuffix("_bold.nii.gz")
        for side in "LR":
            path = image.with_name(f"{stem}_hemi-{side}_space-fsnative_bold.func.gii")
            write_func(path, series(SMALL["volumes"], 66, seed=1), tr=tr)
    study = plan_stories(copy[name], name, split=by_story, space="fsnative")
    volumes = plan_stories(copy[name], name, split=by_story)
    assert {run.bold.name.split("_")[-1] for run in study.runs} == {"bold.func.gii"}
    assert not any("hemi-R" in run.bold.name or run.mask for run in study.runs)
    assert study.trials == volumes.trials
    assert not len(study.absent)
    out = study.save(tmp_path / "study")
    left, right = map(str, write_surfaces(tmp_path))
    prepared = ["prepare", str(out), str(tmp_path / "store"), "--dry-run", "--high-pass", "none"]
    assert cli.main([*prepared, "--surfaces", left, right, "--patch-size", "16"]) == 0
    assert "132 vertices and voxels" in capsys.readouterr().out


def test_designs_that_cannot_be():
    for options in ({"layout": "huth"}, {"volumes": 20}, {"subjects": 0}, {"snr": -1.0}):
        with pytest.raises(InputError, match="StoryDesign"):
            StoryDesign(**options)

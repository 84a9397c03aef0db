"""Texts for one's own clips: `fastbrain prepare` asks a model, or reads a table of captions."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny_video_model import WORDS, Processor
from tiny_video_model import small_answers as small_answers
from tiny_video_model import video_model as video_model

from fastbrain import cli
from fastbrain.data import VoxelStore
from fastbrain.data.readers.clips import write_clip
from fastbrain.data.studies.annotation import read_surrogates
from fastbrain.errors import CohortError
from fastbrain.evaluation.report.outputs import data_facts
from fastbrain.integrations import annotators


@pytest.fixture
def own(tmp_path):
    """A runs table of two people whose events name a clip, and no text."""
    root = tmp_path / "own"
    root.mkdir()
    rng = np.random.default_rng(0)
    mask = nib.Nifti1Image(np.ones((6, 6, 4), dtype=np.uint8), np.eye(4) * 3)
    nib.save(mask, root / "mask.nii")
    rows = ["subject\trun\tbold\tevents\tmask"]
    for s in (1, 2):
        for r in (1, 2, 3):
            stem = f"sub-{s:02d}_run-{r:02d}"
            image = nib.Nifti1Image(
                (1000 + 20 * rng.standard_normal((6, 6, 4, 40))).astype(np.float32), np.eye(4) * 3
            )
            image.header["pixdim"][4] = 2.0
            image.header.set_xyzt_units("mm", "sec")
            nib.save(image, root / f"{stem}_bold.nii")
            lines = ["onset\tduration\ttrial_type\tstim_file"]
            for k in range(5):  # every second clip is dark
                clip = f"{s}{r}{k}.mp4"
                lines.append(f"{12.0 * k + 4}\t2\taction\t{clip}")
                shade = 10 if k % 2 else 240
                write_clip(root / "stimuli" / clip, np.full((4, 32, 32, 3), shade, dtype=np.uint8))
            (root / f"{stem}_events.tsv").write_text("\n".join(lines) + "\n")
            rows.append(f"{s:02d}\t{r:02d}\t{stem}_bold.nii\t{stem}_events.tsv\tmask.nii")
    (root / "runs.tsv").write_text("\n".join(rows) + "\n")
    return root


def test_prepare_asks_a_video_model_about_own_clips(
    video_model, small_answers, own, tmp_path, monkeypatch
):
    processor = Processor(WORDS, 3)
    loaded = []

    def load(name, device):
        loaded.append(name)
        return video_model, processor

    monkeypatch.setattr(annotators, "load_video_llm", load)
    asked = tmp_path / "asked.txt"
    asked.write_text("what is it\n\nwho  does it\n")
    said = ["prepare", str(own / "runs.tsv"), str(tmp_path / "store"), "--kernel", "2", "2", "2"]
    said += ["--train", "01", "--val", "02", "--test", "03", "--window", "2", "--closed-set"]
    said += ["--video-model", "llava", "--instructions", str(asked)]
    said += ["--answers", str(tmp_path / "answers")]
    assert cli.main([*said, "--dry-run"]) == 0
    assert not loaded  # everything but the texts is checked without the model
    assert cli.main(said) == 0
    store = VoxelStore.open(tmp_path / "store")
    assert {t.instruction for t in store.trials} == {"what is it", "who does it"}
    assert set(processor.asked) == {"what is it", "who does it"}
    answers = {}
    for trial in store.trials:
        shade = int(Path(trial.clip).stem[-1]) % 2
        answers.setdefault(trial.instruction, {0: set(), 1: set()})[shade].add(trial.text)
    # one answer to each question for all bright clips, and another for all dark ones
    for bright, dark in (found.values() for found in answers.values()):
        assert len(bright) == len(dark) == 1
        assert bright != dark
    # reports say whose words the targets are
    facts = data_facts(store, {"llm": "x", "store_fingerprint": "y"})
    assert facts["targets"].startswith("answers of video model llava (")
    assert "2 instructions" in facts["targets"]
    # the second time nothing is asked
    before = len(processor.asked)
    said[2] = str(tmp_path / "again")
    assert cli.main(said) == 0
    assert len(processor.asked) == before
    assert VoxelStore.open(tmp_path / "again").fingerprint() == store.fingerprint()
    # texts that are not those of the record
    lines = (tmp_path / "again" / "surrogates.jsonl").read_text().splitlines()
    (tmp_path / "again" / "surrogates.jsonl").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(CohortError, match="origin of each text"):
        data_facts(VoxelStore.open(tmp_path / "again"), {"llm": "x", "store_fingerprint": "y"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--video-model", "llava", "--text-model", "llama"], "one of --captions"),
        (["--video-model", "llava", "--no-events"], "--no-events must be left out"),
        (["--instructions", "asked.txt"], "--instructions must be left out"),
        (["--video-model", "llava", "--instructions", "empty.txt"], "one instruction a line"),
        (["--video-model", "llava"], "13.mp4"),
    ],
)
def test_prepare_refuses_before_a_model_is_loaded(
    own, tmp_path, capsys, monkeypatch, words, message
):
    monkeypatch.setattr(annotators, "load_video_llm", lambda *_, **__: 1 / 0)
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n")
    Path("asked.txt").write_text("what\n")
    (own / "stimuli" / "113.mp4").unlink()
    said = ["prepare", str(own / "runs.tsv"), "store", "--folds", "3", *words]
    assert cli.main(said) == 1
    assert message in capsys.readouterr().err
    assert not Path("store").exists()


def test_prepare_takes_own_captions(own, tmp_path):
    table = tmp_path / "captions.tsv"
    clips = sorted(path.name for path in (own / "stimuli").iterdir())
    table.write_text("stimulus\tcaption\n" + "".join(f"{c}\tclip {c[:3]}\n" for c in clips))
    said = ["prepare", str(own / "runs.tsv"), str(tmp_path / "store"), "--kernel", "2", "2", "2"]
    assert cli.main([*said, "--folds", "3", "--captions", str(table)]) == 0
    store = VoxelStore.open(tmp_path / "store")
    assert all(t.text == f"clip {t.stimulus[:3]}" for t in store.trials)


def test_prepare_writes_no_texts_of_trials_that_are_left_out(own, tmp_path):
    header, *rows = (own / "runs.tsv").read_text().splitlines()
    lines = [f"{header}\tconfounds"]
    for row in rows:
        table = own / f"{row.split()[2].removesuffix('_bold.nii')}_confounds.tsv"
        # the head moves while the third trial is shown, of which the window begins 4 s after it
        moved = "".join("0.9\n" if volume == 16 else "0.1\n" for volume in range(40))
        table.write_text(f"framewise_displacement\n{moved}")
        lines.append(f"{row}\t{table.name}")
    (own / "runs.tsv").write_text("\n".join(lines) + "\n")
    table = tmp_path / "captions.tsv"
    clips = sorted(path.name for path in (own / "stimuli").iterdir())
    table.write_text("stimulus\tcaption\n" + "".join(f"{c}\tclip {c[:3]}\n" for c in clips))
    said = ["prepare", str(own / "runs.tsv"), str(tmp_path / "store"), "--kernel", "2", "2", "2"]
    said += ["--folds", "3", "--captions", str(table), "--confounds", "fd:0.5"]
    assert cli.main([*said, "--exclude", "sub-02_run-03"]) == 0
    store = VoxelStore.open(tmp_path / "store")
    kept = {t.stimulus for t in store.trials}
    assert kept == {c for c in clips if c[2] != "2" and c[:2] != "23"}
    found = read_surrogates(store.path / "surrogates.jsonl")
    assert {s.record_id for s in found} == {t.trial_id for t in store.trials}

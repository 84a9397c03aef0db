"""A study of the sentences of Pereira, from MATLAB files to a store of images."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fastbrain import cli
from fastbrain.data import (
    plan_pereira,
    split_by,
    write_pereira_images,
)
from fastbrain.errors import CohortError


def write_mat(folder, person, experiment, n, rng, passages=4, *, doubled=False):
    from scipy.io import savemat

    places = np.argwhere(np.ones((3, 4, 5))) + 1
    if doubled:
        places[1] = places[0]
    values = rng.standard_normal((n, len(places)))
    labels = np.sort(np.arange(n) % passages) + 1
    sentences = np.array([f"Sentence {i} of {experiment}." for i in range(n)], dtype=object)
    meta = {"colToCoord": places, "dimx": 4, "dimy": 4, "dimz": 6}
    (folder / person).mkdir(exist_ok=True, parents=True)
    arrays = {
        "examples": values, "keySentences": sentences[:, None],
        "labelsPassageForEachSentence": labels[:, None], "meta": meta,
    }  # fmt: skip
    savemat(folder / person / f"examples_{experiment}.mat", arrays)
    return values, labels, places


def test_sentences_of_pereira(tmp_path, capsys):
    rng, source = np.random.default_rng(0), tmp_path / "mat"
    values, labels, places = write_mat(source, "P01", "384sentences", 17, rng)
    write_mat(source, "P01", "243sentences", 9, rng)
    write_mat(source, "M02", "384sentences", 17, rng)
    images = write_pereira_images(source, tmp_path / "images")
    study = plan_pereira(
        images,
        split=lambda t: split_by(
            t,
            "story",
            train=["384sentences-1", "384sentences-2"],
            val=["384sentences-3"],
            test=["384sentences-4"],
        ),
        prompt_sentences=2,
    )
    run = next(r for r in study.runs if r.run_id == "sub-P01_run-384sentences")
    image = nib.load(run.bold)
    data = np.asarray(image.dataobj)
    assert data.shape == (4, 4, 6, 17)
    assert np.allclose(data[tuple((places - 1).T)].T, values, atol=1e-6)
    assert np.asarray(nib.load(run.mask).dataobj).sum() == len(places)
    own = [t for t in study.trials if t.run_id == run.run_id]
    for i, trial in enumerate(own):
        before = [k for k in range(i) if labels[k] == labels[i]][-2:]
        assert trial.prompt == " ".join(f"Sentence {k} of 384sentences." for k in before)
        assert (trial.start, trial.frames, trial.guard_trs) == (i, 1, 0)
        assert trial.text == f"Sentence {i} of 384sentences."
        assert trial.story == f"384sentences-{labels[i]}"
    out, store = tmp_path / "study", tmp_path / "store"
    words = ["--split-by", "story", "--folds", "4", "--images", str(images)]
    assert cli.main(["study", "pereira", str(source), str(out), *words]) == 0
    assert "--units zscore --high-pass none" in capsys.readouterr().err
    settings = ["--kernel", "2", "2", "2", "--units", "zscore", "--high-pass", "none"]
    assert cli.main(["prepare", str(out), str(store), *settings]) == 0
    write_mat(tmp_path / "doubled", "P01", "384sentences", 17, rng, doubled=True)
    with pytest.raises(CohortError, match="a place of its own for each voxel"):
        write_pereira_images(tmp_path / "doubled", tmp_path / "none")
    # components cannot become a store
    (tmp_path / "components").mkdir()
    with pytest.raises(CohortError, match="components without voxels"):
        write_pereira_images(tmp_path / "components", tmp_path / "none")
    (source / "P01" / "examples_384sentences.mat").write_bytes(b"no mat file")
    with pytest.raises(CohortError, match="must be a file of Pereira"):
        write_pereira_images(source, tmp_path / "none")

"""The code of docs/extending.md runs, and does what the page says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from fastbrain.bench import plugins
from fastbrain.bench.registry import Setting
from fastbrain.errors import BackendError, InputError
from fastbrain.evaluation import Sample, evaluate_text, run_controls
from fastbrain.stats import derangements

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
READER, DECODER, KERNEL, PROVIDER = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def run(code, folder):
    """Names that a program leaves behind."""
    file = folder / "page_code.py"
    file.write_text(code)
    return runpy.run_path(str(file))


def test_a_reader_makes_a_store(tmp_path, monkeypatch):
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(np.ones((4, 6, 4), np.uint8), affine), folder / "brain.nii")
    for run_number in range(1, 5):
        values = 1000 + 9 * rng.standard_normal((4, 6, 4, 40))
        image = nib.Nifti1Image(values.astype(np.int16), affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = 2.0
        nib.save(image, folder / f"p1_r{run_number}.nii")
        log = [f"{t},sentence {run_number} {t}" for t in range(0, 60, 12)]
        (folder / f"p1_r{run_number}.log").write_text("\n".join(log) + "\n")
    monkeypatch.chdir(tmp_path)
    store = run(READER, tmp_path)["store"]
    assert len(store.trials) == 20
    assert {t.text for t in store.trials if t.run == "2"} == {
        f"sentence 2 {t}" for t in range(0, 60, 12)
    }


def test_a_decoder_that_ignores_brains_is_at_chance(tmp_path):
    decoder = run(DECODER, tmp_path)["decoder"]
    truth = [f"a person sees item {i}" for i in range(24)]
    blocks = [str(i // 6) for i in range(24)]
    inputs = {"true brain": np.zeros((24, 3))}
    found = run_controls(decoder, inputs, truth, derangements(blocks), blocks=blocks)
    rows = [
        Sample(str(i), "01", blocks[i], truth[i], found["true brain"].texts[i]) for i in range(24)
    ]
    result = evaluate_text(rows, found, bert=False)
    assert result.score("pairwise").value == 0.5
    assert result.score("bleu1").p == 1.0


def test_the_op_chooses_and_refuses(tmp_path):
    names = run(KERNEL, tmp_path)
    row_norm, x = names["row_norm"], torch.randn(5, 7)
    with names["_dispatch"].observed() as calls:
        row_norm(x)
        row_norm(x.half())
    assert calls == [("row_norm", "cpu"), ("row_norm", "reference")]
    with pytest.raises(BackendError, match="not supported"):
        row_norm(x.half(), backend="cpu")
    with pytest.raises(InputError, match=r"must be \(N, D\)"):
        row_norm(x[0])


def test_the_provider_is_found_and_right(tmp_path, monkeypatch):
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "bench.py").write_text(PROVIDER)
    facts = tmp_path / "my_package-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1\n")
    toml = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    (line,) = [row for row in toml.splitlines() if row.startswith("mine")]
    (facts / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{line.replace(chr(34), '')}\n")
    assert f'entry-points."{plugins.GROUP}"' in toml
    monkeypatch.syspath_prepend(str(tmp_path))
    (mine,) = [p for p in plugins.added().providers if p.name == "my-cdist"]
    inputs = {"x": torch.randn(9, 5), "codes": torch.randn(13, 5)}
    assert mine.can_run(inputs, Setting()) is None
    assert mine.can_run(inputs, Setting(dtype=torch.bfloat16)) == "needs float32"
    distance = torch.cdist(inputs["x"].double(), inputs["codes"].double())
    assert torch.equal(mine.build(inputs, Setting())(), distance.argmin(1))

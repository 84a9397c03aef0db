"""A store that is prepared in a tenth of a second, for tests of what reads stores."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from fastbrain.data import VoxelStore, WindowSpec, prepare_store, read_runs_table, split_by

TR_S = 2.0


def small_table(
    folder: Path,
    *,
    runs: int = 3,
    shape: tuple[int, int, int] = (5, 6, 7),
    subject: str = "01",
    first: int = 1,
) -> Path:
    """Write runs of 40 volumes with a trial every 12 s; returns the table of runs."""
    rng = np.random.default_rng(int(subject))
    rows = ["subject\trun\tbold\tevents\tmask"]
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    for run in range(first, first + runs):
        values = 1000 + 9 * rng.standard_normal((*shape[::-1], 40))
        image = nib.Nifti1Image(values.astype(np.int16), affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = TR_S
        name = f"s{subject}r{run}"
        nib.save(image, folder / f"{name}.nii")
        lines = ["onset\tduration\ttrial_type\tstimulus\ttext"]
        lines += [
            f"{t}\t2\tclip\t{name}-{t}\ta \u201cdog\u201d {run} {t}" for t in range(0, 60, 12)
        ]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        rows.append(f"{subject}\t{run}\t{name}.nii\t{name}.tsv\tbrain.nii")
    nib.save(nib.Nifti1Image(np.ones(shape[::-1], np.uint8), affine), folder / "brain.nii")
    (folder / f"runs{subject}.tsv").write_text("\n".join(rows) + "\n")
    return folder / f"runs{subject}.tsv"


def small_store(
    folder: Path,
    *,
    runs: int = 3,
    shape: tuple[int, int, int] = (5, 6, 7),
    kernel: tuple[int, int, int] = (2, 2, 3),
    name: str = "store",
    subject: str = "01",
    **options: object,
) -> VoxelStore:
    """Prepare the runs of :func:`small_table`; the first train, the last one is for testing."""
    table = small_table(folder, runs=runs, shape=shape, subject=subject)
    return prepared(table, folder / name, kernel=kernel, **options)


def prepared(
    table: Path, out: Path, *, kernel: tuple[int, int, int] = (2, 2, 3), **options: object
) -> VoxelStore:
    """Prepare the runs of a table; the first ones train, the last one is for testing."""
    records = read_runs_table(table)
    names = [record.run for record in records]
    return prepare_store(
        records,
        out,
        window=WindowSpec(4.0, 3),
        kernel=kernel,
        high_pass_s=50.0,
        split=lambda trials: split_by(
            *(trials, "run"),
            train=names[:-2],
            val=names[-2:-1],
            test=names[-1:],
            closed_set=True,
        ),
        **options,
    )

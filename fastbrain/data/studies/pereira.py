"""Pereira et al. 2018: one image for each sentence of short passages.

The published files are ``SUBJECT/examples_384sentences.mat`` and ``examples_243sentences.mat``
(experiments 2 and 3): ``examples`` (sentences, voxels), ``keySentences``,
``labelsPassageForEachSentence`` and ``meta.colToCoord``, the place of each voxel. An image combines
all repetitions of a sentence, so that its position in the file is no time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._io import folder_atomic, write_atomic
from ..._progress import track
from ...errors import CohortError, ConfigError, some
from ..readers.events import Trial
from ..readers.runs_table import RunRecord, label_of, run_id_of
from ..readers.tables import read_tsv, tsv_text
from ..readers.trial_windows import WindowSpec
from ..splits.split import Split, made_split
from .passages import PEREIRA
from .study import Study

_EXPERIMENTS = ("384sentences", "243sentences")
_STEP_S = PEREIRA.tr
_COLUMNS = ("onset", "duration", "stimulus", "passage", "text")
_EDGE_MM = 2.0


@checked
def write_pereira_images(
    source: str | Path, out: str | Path, *, subjects: Sequence[str] = ()
) -> Path:
    """Write the sentence images of the published ``.mat`` files as NIfTI, with their sentences.

    Every file becomes one image ``sub-SUBJECT/func/sub-SUBJECT_task-384sentences_bold.nii`` with
    one volume for each sentence, a mask, and a table of sentences. The files state no affine: the
    voxel size is written as 2 mm, and no atlas may be laid on these images.

    Parameters
    ----------
    source : str or Path
        Folder with ``SUBJECT/[SUBJECT/]examples_*sentences.mat``.
    out : str or Path
        New folder.
    subjects : sequence of str
        People to keep. Default: all.

    Returns
    -------
    Path

    Raises
    ------
    CohortError
        There are no such files, or a file is damaged or lacks one of the arrays.
    OutputExistsError
        `out` exists.
    """
    files = _mat_files(Path(source))
    known = sorted({person for person, _, _ in files})
    wanted = {s.removeprefix("sub-") for s in subjects} or set(known)
    if not files or wanted - set(known):
        raise CohortError(
            f"write_pereira_images: {source} must hold SUBJECT/examples_384sentences.mat and "
            f"examples_243sentences.mat{f' of {some(sorted(wanted))}' if subjects else ''}, got "
            f"{f'those of {some(known)}' if known else 'none'}. They are on {PEREIRA.page}; "
            "principal components without voxels cannot become a store."
        )
    chosen = [one for one in files if one[0] in wanted]
    with folder_atomic(out, function="write_pereira_images") as root:
        for person, experiment, path in track(chosen, "converting sentence images"):
            stem = root / f"sub-{person}" / "func" / f"sub-{person}_task-{experiment}"
            _convert(path, stem, experiment)
    return Path(out)


@checked(error=ConfigError, least={"prompt_sentences": 0})
def plan_pereira(
    images: str | Path,
    *,
    split: Callable[[list[Trial]], Split],
    prompt_sentences: int = 3,
) -> Study:
    """Plan a study from the folder of :func:`write_pereira_images`.

    A trial is a sentence, with a window of its one volume. Its prompt are the sentences before it
    in the passage, at most `prompt_sentences`.

    Parameters
    ----------
    images : str or Path
    split : callable
        Function that makes the split from the trials; ``story`` is the passage.
    prompt_sentences : int

    Returns
    -------
    Study

    Raises
    ------
    CohortError, SplitError, LeakError
        An input is invalid; the message names it.
    """
    root = Path(images)
    spec = WindowSpec(delay_s=0.0, window_trs=1)
    runs, trials = [], []
    for bold in sorted(root.glob("sub-*/func/*_bold.nii")):
        stem = bold.name.removesuffix("_bold.nii")
        person, _, experiment = stem.removeprefix("sub-").partition("_task-")
        run = RunRecord(
            run_id=run_id_of(person, "", experiment),
            subject=person,
            session="",
            run=experiment,
            bold=bold,
            events=bold.with_name(f"{stem}_events.tsv"),
            mask=bold.with_name(f"{stem}_desc-brain_mask.nii"),
            tr=_STEP_S,
            root=root,
        )
        runs.append(run)
        trials += _sentences(run, spec, prompt_sentences)
    if not runs:
        raise CohortError(
            f"plan_pereira: {root} must hold sub-*/func/*_bold.nii, got none. Write them with "
            "write_pereira_images."
        )
    parts = made_split(split, trials, function="plan_pereira")
    return Study(PEREIRA, root, tuple(runs), trials, parts, spec, ())


def _sentences(run: RunRecord, spec: WindowSpec, most: int) -> list[Trial]:
    columns, rows = read_tsv(run.events_table())
    if not set(_COLUMNS) <= set(columns):
        raise CohortError(
            f"plan_pereira: {run.events} must have the columns {', '.join(_COLUMNS)}, got "
            f"{', '.join(columns)}."
        )
    before: dict[str, list[str]] = {}
    trials = []
    for i, row in enumerate(rows):
        told = before.setdefault(row["passage"], [])
        trials.append(
            Trial(
                trial_id=f"{run.run_id}_trial-{i + 1:04d}",
                run_id=run.run_id,
                subject=run.subject,
                session="",
                run=run.run,
                onset=i * _STEP_S,
                duration=_STEP_S,
                start=i,
                frames=spec.window_trs,
                stimulus=row["stimulus"],
                text=row["text"],
                guard_trs=0,  # neighbours in the file were not measured one after the other
                story=row["passage"],
                prompt=" ".join(told[max(0, len(told) - most) :]),
            )
        )
        told.append(row["text"])
    return trials


def _mat_files(source: Path) -> list[tuple[str, str, Path]]:
    """Person, experiment and path of each file."""
    found: dict[tuple[str, str], Path] = {}
    for experiment in _EXPERIMENTS:
        for pattern in ("*", "*/*"):
            for path in sorted(source.glob(f"{pattern}/examples_{experiment}.mat")):
                person = label_of(path.parent.name, "sub-", where=f"{path} folder")
                found.setdefault((person, experiment), path)
    return [(*key, path) for key, path in sorted(found.items())]


def _convert(path: Path, stem: Path, experiment: str) -> None:
    values, sentences, passages, coordinates, shape = _read(path)
    mask = np.zeros(shape, dtype=np.uint8)
    place = tuple(coordinates.T)
    mask[place] = 1
    _write(Path(f"{stem}_desc-brain_mask.nii"), [mask], shape, "uint8")

    def volumes() -> Any:
        for row in values:
            volume = np.zeros(shape, dtype=np.float32)
            volume[place] = row
            yield volume

    _write(Path(f"{stem}_bold.nii"), volumes(), (*shape, len(values)), "float32")
    rows = [
        [f"{i * _STEP_S:g}", f"{_STEP_S:g}", f"{experiment}-{i + 1:04d}", f"{experiment}-{p}", text]
        for i, (p, text) in enumerate(zip(passages, sentences, strict=True))
    ]
    write_atomic(Path(f"{stem}_events.tsv"), tsv_text(_COLUMNS, rows))


def _read(
    path: Path,
) -> tuple[
    npt.NDArray[np.float32], list[str], list[int], npt.NDArray[np.int64], tuple[int, int, int]
]:
    """Images, sentences, passages and places (from 0) of the voxels of a file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        # a pickle-free format; Matlab objects are read as plain arrays
        read = loadmat(path, squeeze_me=True, struct_as_record=False)
        values = np.asarray(read["examples"], dtype=np.float32)
        sentences = [" ".join(str(s).split()) for s in np.atleast_1d(read["keySentences"])]
        passages = [int(p) for p in np.atleast_1d(read["labelsPassageForEachSentence"])]
        meta = read["meta"]
        places = np.asarray(meta.colToCoord, dtype=np.int64) - 1
        sizes = [getattr(meta, name, None) for name in ("dimx", "dimy", "dimz")]
    except (
        *(MatReadError, OSError, KeyError, AttributeError, ValueError, TypeError),
        NotImplementedError,
    ) as error:
        raise CohortError(
            f"write_pereira_images: {path} must be a file of Pereira et al. with examples, "
            f"keySentences, labelsPassageForEachSentence and meta.colToCoord, got '{error}'."
        ) from error
    n, v = values.shape if values.ndim == 2 else (0, 0)
    agree = len(sentences) == len(passages) == n > 0 and places.shape == (v, 3)
    agree = agree and len(np.unique(places, axis=0)) == v
    if not agree or not all(sentences) or places.min() < 0 or not np.isfinite(values).all():
        raise CohortError(
            f"write_pereira_images: {path} must have finite examples (sentences, voxels) with a "
            f"sentence and a passage for each, and a place of its own for each voxel, got "
            f"{values.shape}, {len(sentences)}, {len(passages)} and {places.shape}."
        )
    largest = places.max(axis=0) + 1
    shape = [int(s) if s is not None else int(m) for s, m in zip(sizes, largest, strict=True)]
    if (largest > shape).any() or np.prod(shape) > 1 << 28:
        raise CohortError(
            f"write_pereira_images: {path} must have voxels within its {shape}, got {largest}."
        )
    return values, sentences, passages, places, (shape[0], shape[1], shape[2])


def _write(path: Path, volumes: Any, shape: tuple[int, ...], dtype: str) -> None:
    """Write an uncompressed NIfTI volume by volume."""
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    affine = np.diag([_EDGE_MM, _EDGE_MM, _EDGE_MM, 1.0])
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm", "sec")
    header["pixdim"][1:5] = (_EDGE_MM, _EDGE_MM, _EDGE_MM, _STEP_S)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"

    def write(file: Any) -> None:
        file.write(header.binaryblock + b"\0" * 4)
        for volume in volumes:
            file.write(volume.tobytes(order="F"))

    write_atomic(path, write)

"""A simulated cohort of people who listen to stories, in the layout of a public data set.

The generative model, per subject ``s``, voxel ``v`` and volume ``t``::

    bold = baseline_v · (1 + (psc_signal + psc_noise + drift) / 100)
    psc_signal(v, t) = Σ_value map[s, value](v) · (words of that value ⊛ canonical HRF)(t)
                     + map[s, any word](v) · (all words ⊛ canonical HRF)(t)

A story is a sequence of scenes of a few sentences (:mod:`.captions`). Actor and place stay for a
scene, action and object change with each sentence. Everything that depends on the words is in
``psc_signal``: with ``snr=0`` no decoder can be better than chance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..._arguments import checked
from ..._io import folder_atomic, write_atomic, write_json
from ..._progress import track
from ...errors import InputError
from ..readers.word_timings import Word
from .captions import SLOTS
from .template_brain import NOISE_PSC, TemplateBrain, noise_psc, write_bold, write_nifti

Layout = Literal["narratives", "lebel"]
_TR = {"narratives": 1.5, "lebel": 2.0}
_ONSET_S = {"narratives": 15.0, "lebel": 10.0}
_END_S = 12.0  # silence after a story, for its last response
_N_VALUES = sum(len(values) for values in SLOTS.values())


@checked
@dataclass(frozen=True)
class StoryDesign:
    """Settings of a simulated story cohort.

    Parameters
    ----------
    layout : {"narratives", "lebel"}
        Layout of the files, with the repetition time of that data set (1.5 or 2 s) and the start
        of its stories (15 or 10 s after the first volume).
    subjects, stories : int
        Number of people, each of whom hears all stories once.
    volumes : int
        Volumes of a run.
    snr : float
        Ratio of the temporal standard deviations of signal and noise over grey matter.
    scene_s : float
        Seconds of a scene.
    resolution_mm : int
        Voxel size of the MNI152 grid.
    fwhm_mm : float
        Smoothness of the maps.
    consistency : float
        Share of a map's variance that all subjects have in common, 0..1.
    ar1 : float
        Lag-one autocorrelation of the noise.
    seed : int
    """

    layout: Layout = "narratives"
    subjects: int = 3
    stories: int = 6
    volumes: int = 80
    snr: float = 1.0
    scene_s: float = 10.0
    resolution_mm: int = 8
    fwhm_mm: float = 16.0
    consistency: float = 0.8
    ar1: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.layout not in _TR:
            raise InputError(
                f"StoryDesign: layout must be one of {sorted(_TR)}, got {self.layout!r}."
            )
        for name in ("subjects", "stories"):
            if getattr(self, name) < 1:
                raise InputError(f"StoryDesign: {name} must be >= 1, got {getattr(self, name)}.")
        if not (np.isfinite(self.snr) and self.snr >= 0):
            raise InputError(f"StoryDesign: snr must be >= 0 and finite, got {self.snr}.")
        if not (0 <= self.consistency <= 1 and 0 <= self.ar1 < 1 and self.scene_s > 0):
            raise InputError(
                "StoryDesign: consistency must be 0..1, ar1 in [0, 1) and scene_s > 0, got "
                f"{self.consistency}, {self.ar1} and {self.scene_s}."
            )
        if self.story_s < 2 * self.scene_s:
            raise InputError(
                f"StoryDesign: volumes must leave room for two scenes of {self.scene_s:g} s, got "
                f"{self.volumes}. Simulate longer runs."
            )

    @property
    def tr(self) -> float:
        """Seconds between volumes."""
        return _TR[self.layout]

    @property
    def onset_s(self) -> float:
        """Seconds from the first volume to the start of the story."""
        return _ONSET_S[self.layout]

    @property
    def story_s(self) -> float:
        """Length of a story, seconds."""
        return self.volumes * self.tr - self.onset_s - _END_S


@checked
def simulate_stories(out: str | Path, design: StoryDesign | None = None) -> Path:
    """Write a cohort in the layout of Narratives or of LeBel et al., for :func:`plan_stories`.

    Parameters
    ----------
    out : str or Path
        New folder; it appears when all files are written.
    design : StoryDesign, optional

    Returns
    -------
    Path
        `out`, the BIDS root.

    Raises
    ------
    OutputExistsError
        `out` exists.
    MissingPartError
        nilearn (brain template) is not installed.
    """
    design = design or StoryDesign()
    rng = np.random.default_rng(design.seed)
    brain = TemplateBrain.load(
        resolution_mm=design.resolution_mm, fwhm_mm=design.fwhm_mm, function="simulate_stories"
    )
    told = {f"tale{i}": _story(design, rng) for i in range(1, design.stories + 1)}
    group = brain.maps(_N_VALUES + 1, rng)
    people = [
        f"{s:03d}" if design.layout == "narratives" else f"UTS{s:02d}"
        for s in range(1, design.subjects + 1)
    ]
    with folder_atomic(out, function="simulate_stories") as root:
        _write_dataset(root, design, brain, people, told)
        for person in track(people, "simulating people"):
            own = brain.maps(_N_VALUES + 1, rng)
            maps = np.sqrt(design.consistency) * group + np.sqrt(1 - design.consistency) * own
            for number, (name, story) in enumerate(told.items()):
                stem = _stem(design, person, name, number)
                psc = _signal(story, maps, design)
                psc = psc + noise_psc(brain.n_voxels, design.volumes, design.ar1, rng)
                write_bold(root / f"{stem}_bold.nii.gz", psc, brain, tr=design.tr)
                if design.layout == "narratives":
                    write_atomic(root / f"{stem}_events.tsv", _events(name, design))
    return Path(out)


@dataclass(frozen=True)
class _Story:
    words: tuple[Word, ...]  # seconds after the start of the story
    values: tuple[int, ...]  # index of the value that each word belongs to, over all slots


def _story(design: StoryDesign, rng: np.random.Generator) -> _Story:
    """Draw scenes until the story is full; the pace of speech changes with the scene."""
    words: list[Word] = []
    values: list[int] = []
    now = 0.0
    firsts = np.cumsum([0, *(len(v) for v in SLOTS.values())])
    while now < design.story_s - 1:
        pace = rng.uniform(0.28, 0.55)
        stop = min(now + design.scene_s, design.story_s - 1)
        scene = [int(rng.integers(len(v))) for v in SLOTS.values()]
        while now < stop:
            scene[1], scene[2] = (int(rng.integers(len(SLOTS[k]))) for k in ("action", "object"))
            for slot, (said, value) in enumerate(zip(SLOTS.values(), scene, strict=True)):
                for word in said[value].split():
                    if now + pace > design.story_s:
                        break
                    words.append(Word(word, round(now, 3), round(now + 0.9 * pace, 3)))
                    values.append(int(firsts[slot]) + value)
                    now += pace
    return _Story(tuple(words), tuple(values))


def _signal(
    story: _Story, maps: npt.NDArray[np.float32], design: StoryDesign
) -> npt.NDArray[np.float32]:
    """Compute the percent signal change of the response, (volumes, n_voxels)."""
    from nilearn.glm.first_level import compute_regressor

    times = np.arange(design.volumes) * design.tr
    onsets = np.array([w.onset for w in story.words]) + design.onset_s
    lengths = np.array([w.offset - w.onset for w in story.words])
    values = np.array(story.values)
    regressors = np.zeros((design.volumes, len(maps)), dtype=np.float32)
    for row in range(len(maps)):
        chosen = values == row if row < _N_VALUES else np.ones(len(values), dtype=bool)
        if chosen.any():
            condition = np.stack([onsets[chosen], lengths[chosen], np.ones(chosen.sum())])
            regressors[:, row] = compute_regressor(condition, "spm", times)[0][:, 0]
    # the response to words of any meaning is as strong as that to all meanings together
    meaning = np.sqrt(regressors[:, :_N_VALUES].var(axis=0).sum())
    regressors[:, _N_VALUES] *= 0.5 * meaning / max(float(regressors[:, _N_VALUES].std()), 1e-6)
    power = np.sqrt(regressors.var(axis=0).sum())
    return np.asarray((design.snr * NOISE_PSC / power) * (regressors @ maps), dtype=np.float32)


def _stem(design: StoryDesign, person: str, name: str, number: int) -> str:
    if design.layout == "narratives":
        return f"sub-{person}/func/sub-{person}_task-{name}"
    session = number // 2 + 2  # the first session of the data set holds localisers
    return f"sub-{person}/ses-{session}/func/sub-{person}_ses-{session}_task-{name}"


def _events(name: str, design: StoryDesign) -> str:
    lines = [
        "onset\tduration\ttrial_type\tstim_file",
        f"0.0\t13.0\tmusic\t{name}_audio.wav",
        f"{design.onset_s}\t{design.story_s}\tstory\t{name}_audio.wav",
    ]
    return "\n".join(lines) + "\n"


def _write_dataset(
    root: Path,
    design: StoryDesign,
    brain: TemplateBrain,
    people: list[str],
    told: dict[str, _Story],
) -> None:
    description = {
        "Name": f"fastbrain simulated stories, in the layout of {design.layout}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "CC0",
        "GeneratedBy": [{"Name": "fastbrain simulate_stories", "Version": __version__}],
    }
    write_json(root / "dataset_description.json", description)
    write_json(root / "design.json", asdict(design))
    write_atomic(root / ".bidsignore", "design.json\nmask.nii.gz\nderivative\n")
    write_atomic(root / "README", f"Simulated fMRI. No person was scanned.\n\n{__doc__}")
    tasks = ",".join(told)
    none = ",".join(["n/a"] * len(told))
    rows = [f"sub-{person}\t{tasks}\t{none}" for person in people]
    write_atomic(
        root / "participants.tsv", "\n".join(["participant_id\ttask\tcondition", *rows]) + "\n"
    )
    write_nifti(root / "mask.nii.gz", brain.mask.astype(np.uint8), brain.affine, tr=None)
    for name, story in told.items():
        sidecar = {"TaskName": name, "RepetitionTime": design.tr}
        write_json(root / f"task-{name}_bold.json", sidecar)
        if design.layout == "narratives":
            lines = [f"{w.text},{w.text},{w.onset},{w.offset}" for w in story.words]
            write_atomic(root / "stimuli/gentle" / name / "align.csv", "\n".join(lines) + "\n")
        else:
            grid = _textgrid(story.words, design.story_s)
            write_atomic(root / "derivative/TextGrids" / f"{name}.TextGrid", grid)
    if design.layout == "narratives":
        write_json(root / "code" / "scan_exclude.json", {name: {} for name in told})


def _textgrid(words: tuple[Word, ...], end: float) -> str:
    """Format a short TextGrid with one tier of words."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", f"{end:g}"]
    lines += ["<exists>", "1", '"IntervalTier"', '"word"', "0", f"{end:g}", str(len(words))]
    for word in words:
        lines += [f"{word.onset}", f"{word.offset}", f'"{word.text}"']
    return "\n".join(lines) + "\n"

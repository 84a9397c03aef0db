"""A simulated cohort, written as the files a scanner would leave: BIDS, NIfTI, events, clips.

The generative model, per subject ``s``, voxel ``v`` and volume ``t``::

    bold = baseline_v · (1 + (psc_signal + psc_noise + drift) / 100)
    psc_signal(v, t) = Σ_slot  map[s, slot, value](v) · (boxcar ⊛ canonical HRF)(t)
    map[s] = √c · group map + √(1 − c) · subject's own map      (smooth, inside grey matter)
    psc_noise = AR(1) in time, independent over voxels;  std(psc_signal) = snr · std(psc_noise)

Everything that carries information about the stimulus is in ``psc_signal``: with ``snr=0`` no
decoder can be better than chance. No two subjects share a stimulus.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..._arguments import checked
from ..._io import folder_atomic, write_atomic, write_json
from ..._progress import track
from ...errors import InputError
from ..readers.clips import write_clip
from ..readers.timing import volumes_to_cover
from .captions import SLOTS, Meaning, draw_meanings
from .clips import draw_clip
from .template_brain import NOISE_PSC, TemplateBrain, noise_psc, write_bold, write_nifti

_N_VALUES = sum(len(values) for values in SLOTS.values())


@checked
@dataclass(frozen=True)
class CohortDesign:
    """Settings of a simulated task cohort.

    Parameters
    ----------
    subjects, runs, trials : int
        Number of subjects, of runs per subject, of trials per run.
    snr : float
        Ratio of the temporal standard deviations of signal and noise over grey matter.
    tr, soa, duration : float
        Repetition time, time between clip onsets, clip length; seconds.
    resolution_mm : int
        Voxel size of the MNI152 grid.
    fwhm_mm : float
        Smoothness of the maps.
    consistency : float
        Share ``c`` of a map's variance that all subjects have in common, 0..1.
    ar1 : float
        Lag-one autocorrelation of the noise.
    seed : int
    """

    subjects: int = 6
    runs: int = 4
    trials: int = 40
    snr: float = 0.5
    tr: float = 2.0
    soa: float = 8.0
    duration: float = 2.0
    resolution_mm: int = 4
    fwhm_mm: float = 16.0
    consistency: float = 0.7
    ar1: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("subjects", "runs", "trials"):
            if getattr(self, name) < 1:
                raise InputError(f"CohortDesign: {name} must be >= 1, got {getattr(self, name)}.")
        if not (np.isfinite(self.snr) and self.snr >= 0):
            raise InputError(f"CohortDesign: snr must be >= 0 and finite, got {self.snr}.")
        if not 0 <= self.consistency <= 1:
            raise InputError(f"CohortDesign: consistency must be 0..1, got {self.consistency}.")
        if not 0 <= self.ar1 < 1:
            raise InputError(f"CohortDesign: ar1 must be in [0, 1), got {self.ar1}.")

    @property
    def volumes(self) -> int:
        """Volumes per run: the trials plus 12 s for the last response."""
        return volumes_to_cover(self.trials * self.soa + 12.0, self.tr)


@checked
def simulate_cohort(out: str | Path, design: CohortDesign | None = None) -> Path:
    """Write a cohort as BIDS files.

    Parameters
    ----------
    out : str or Path
        New folder; it appears when all files are written.
    design : CohortDesign, optional

    Returns
    -------
    Path
        The runs table ``out/runs.tsv``; ``out`` itself is the BIDS root.

    Raises
    ------
    OutputExistsError
        `out` exists.
    MissingPartError
        nilearn (brain template) or PyAV (clips) is not installed.
    """
    design = design or CohortDesign()
    rng = np.random.default_rng(design.seed)
    brain = TemplateBrain.load(
        resolution_mm=design.resolution_mm, fwhm_mm=design.fwhm_mm, function="simulate_cohort"
    )
    meanings = draw_meanings(design.subjects * design.runs * design.trials, rng)
    group = brain.maps(_N_VALUES, rng)
    table = ["subject\tsession\trun\tbold\tevents\tmask"]
    with folder_atomic(out, function="simulate_cohort") as root:
        _write_dataset(root, design, brain)
        queue = iter(meanings)
        runs = [(s, r) for s in range(1, design.subjects + 1) for r in range(1, design.runs + 1)]
        for subject, run in track(runs, "simulating runs"):
            if run == 1:
                own = brain.maps(_N_VALUES, rng)
                maps = np.sqrt(design.consistency) * group + np.sqrt(1 - design.consistency) * own
            trials = [next(queue) for _ in range(design.trials)]
            stem = f"sub-{subject:02d}/func/sub-{subject:02d}_task-clips_run-{run:02d}"
            bold, events = f"{stem}_bold.nii.gz", f"{stem}_events.tsv"
            write_atomic(root / events, _events(root, trials, design, rng))
            noise = noise_psc(brain.n_voxels, design.volumes, design.ar1, rng)
            write_bold(root / bold, _signal(trials, maps, design) + noise, brain, tr=design.tr)
            table.append(f"{subject:02d}\tn/a\t{run:02d}\t{bold}\t{events}\tmask.nii.gz")
        write_atomic(root / "runs.tsv", "\n".join(table) + "\n")
    return Path(out) / "runs.tsv"


def _signal(
    trials: list[Meaning], maps: npt.NDArray[np.float32], design: CohortDesign
) -> npt.NDArray[np.float32]:
    """Compute the percent signal change of the response, (volumes, n_voxels)."""
    from nilearn.glm.first_level import compute_regressor

    frame_times = np.arange(design.volumes) * design.tr
    onsets = np.arange(len(trials)) * design.soa
    regressors, row = np.zeros((design.volumes, len(maps)), dtype=np.float32), 0
    for slot, values in enumerate(SLOTS.values()):
        for value in range(len(values)):
            shown = onsets[[meaning.indices[slot] == value for meaning in trials]]
            if shown.size:
                condition = np.stack(
                    [shown, np.full(shown.size, design.duration), np.ones(shown.size)]
                )
                regressors[:, row] = compute_regressor(condition, "spm", frame_times)[0][:, 0]
            row += 1
    # scaled by the power of the design, so that snr means the same for every TR and SOA
    power = np.sqrt((regressors.var(axis=0)).sum())
    return (design.snr * NOISE_PSC / power) * (regressors @ maps)


def _events(
    root: Path, trials: list[Meaning], design: CohortDesign, rng: np.random.Generator
) -> str:
    lines = ["onset\tduration\ttrial_type\tstim_file\tstimulus\ttext"]
    for index, meaning in enumerate(trials):
        clip = f"{meaning.stimulus}.mp4"
        write_clip(root / "stimuli" / clip, draw_clip(meaning, rng))
        lines.append(
            f"{index * design.soa:.3f}\t{design.duration:.3f}\t{meaning.category}\t{clip}"
            f"\t{meaning.stimulus}\t{meaning.caption}"
        )
    return "\n".join(lines) + "\n"


def _write_dataset(root: Path, design: CohortDesign, brain: TemplateBrain) -> None:
    write_json(
        root / "dataset_description.json",
        {
            "Name": "fastbrain simulated cohort",
            "BIDSVersion": "1.10.0",
            "DatasetType": "raw",
            "License": "CC0",
            "GeneratedBy": [{"Name": "fastbrain simulate_cohort", "Version": __version__}],
        },
    )
    write_json(root / "design.json", asdict(design))
    write_json(
        root / "task-clips_bold.json",
        {"TaskName": "clips", "RepetitionTime": design.tr, "Instructions": "Watch the clips."},
    )
    people = [f"sub-{s:02d}" for s in range(1, design.subjects + 1)]
    write_atomic(root / "participants.tsv", "\n".join(["participant_id", *people]) + "\n")
    write_atomic(root / ".bidsignore", "runs.tsv\ndesign.json\nmask.nii.gz\n")
    write_atomic(
        root / "README",
        "Simulated fMRI of people watching short clips; see design.json. No person was scanned.\n"
        f"{__doc__}",
    )
    write_nifti(root / "mask.nii.gz", brain.mask.astype(np.uint8), brain.affine, tr=None)

"""Options of ``fastbrain prepare`` for public data sets: layout, task, windows, where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..._arguments import checked
from .algonauts import MovieDataset
from .catalog import ALGONAUTS2025, BOLD5000, BOLDMOMENTS, HAD, STORY_DATASETS
from .known import KnownDataset, PublicDataset, dataset_named
from .stories import StoryDataset


@dataclass(frozen=True)
class Preset:
    """Options of a data set.

    Parameters
    ----------
    name : str
        Name on the command line.
    title : str
        Name in texts.
    page : str
        Address of the data.
    options : mapping of str to object
        Options of ``fastbrain prepare`` by name; those of the command line replace them.
    dataset : PublicDataset, optional
        Clock, labels and texts, where they are known.
    bold, mask : str
        For data that are not BIDS: patterns of :func:`fastbrain.data.runs_by_pattern`.
    space : str
        Space of these images.
    tr : float, optional
        Repetition time of these images if their headers do not state it, seconds.
    note : str
        Facts to know before using the data set.
    """

    name: str
    title: str
    page: str
    options: Mapping[str, Any] = field(default_factory=dict)
    dataset: PublicDataset | None = None
    bold: str = ""
    mask: str = ""
    space: str = ""
    tr: float | None = None
    note: str = ""

    @property
    def trials(self) -> KnownDataset | None:
        """The data set, if its events have a stimulus each, of which the text is known."""
        return self.dataset if isinstance(self.dataset, KnownDataset) else None

    @property
    def movies(self) -> MovieDataset | None:
        """The data set, if it is one of movies with transcripts."""
        return self.dataset if isinstance(self.dataset, MovieDataset) else None


def _of_trials(dataset: KnownDataset) -> Preset:
    window = dataset.window
    options = {
        "task": dataset.task,
        "delay": window.delay_s,
        "window": window.window_trs,
        "onset_offset": window.onset_offset_s,
    }
    page, note = dataset.page, dataset.note
    return Preset(dataset.name, dataset.title, page, options, dataset, note=note)


def _of_stories(dataset: StoryDataset) -> Preset:
    return Preset(dataset.name, dataset.title, dataset.page, {}, dataset, note=dataset.note)


_FOUND = (
    *(_of_trials(dataset) for dataset in (HAD, BOLD5000, BOLDMOMENTS)),
    *(_of_stories(dataset) for dataset in STORY_DATASETS.values()),
    Preset(
        name=ALGONAUTS2025.name,
        title=ALGONAUTS2025.title,
        page=ALGONAUTS2025.page,
        # three volumes of 1.49 s, as in the baseline of the challenge; the series are z-scores
        options={"window": 4, "delay": 4.47, "units": "zscore"},
        dataset=ALGONAUTS2025,
        note=ALGONAUTS2025.note,
    ),
    Preset(
        name="hcp-rest",
        title="HCP Young Adult, rest after ICA-FIX",
        page="https://www.humanconnectome.org/study/hcp-young-adult",
        # 0.72 s between volumes: 8.6 s
        options={"window": 12},
        bold="{subject}/MNINonLinear/Results/rfMRI_{run}/rfMRI_{run}_hp2000_clean.nii.gz",
        mask="{subject}/MNINonLinear/Results/rfMRI_{run}/brainmask_fs.2.nii.gz",
        space="MNI152NLin6Asym",
        note="relatives were scanned: hold out families, by a runs table with the column family",
    ),
    Preset(
        name="ukb-rest",
        title="UK Biobank, rest after ICA-FIX (field 20227)",
        page="https://www.ukbiobank.ac.uk",
        # 0.735 s between volumes: 8.8 s
        options={"window": 12},
        bold="{subject}/fMRI/rfMRI.ica/filtered_func_data_clean.nii.gz",
        mask="{subject}/fMRI/rfMRI.ica/mask.nii.gz",
        note="images are in the space of each person: warp them into MNI152 by the transform in "
        "their folder first, or keep the grid of each person (--native-grids)",
    ),
    Preset(
        name="nsd-betas",
        title="Natural Scenes Dataset, single-trial betas (version 3)",
        page="https://naturalscenesdataset.org",
        # a volume is the response to a picture; stored as int16, 300 times percent signal change
        options={"window": 1, "delay": 0.0, "units": "zscore", "high_pass": "none"},
        bold="nsddata_betas/ppdata/{subject}/func1pt8mm/betas_fithrf_GLMdenoise_RR/"
        "betas_session{session}.nii.gz",
        mask="nsddata/ppdata/{subject}/func1pt8mm/brainmask.nii.gz",
        tr=1.0,
        note="people are in spaces of their own (--native-grids); the time between volumes is "
        "only their order. With texts: a runs table, --betas and --beta-divisor 300",
    ),
)
PRESETS = {preset.name: preset for preset in _FOUND}


@checked
def dataset_preset(name: str) -> Preset:
    """Return the options for a public data set by name.

    Raises
    ------
    ConfigError
        There is none with that name.
    """
    otherwise = "Give the options themselves, or write a runs table."
    return dataset_named("dataset_preset", name, PRESETS, otherwise)

"""Options of the preparation of a store, shared by several commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._progress import say
from ..data import (
    RunRecord,
    Split,
    Study,
    Surrogate,
    WindowSpec,
    labelled_trials,
    open_recording,
    plan_betas,
    plan_store,
    read_runs_table,
    runs_by_pattern,
    runs_from_bids,
)
from ..data.readers.events import Trial
from ..data.store.plan import StorePlan
from ..data.studies.study import is_study
from ..errors import ConfigError, some
from ._bids import DerivativeOptions, ImageOptions, check_table
from ._denoising import DenoisingOptions
from ._grids import GridOptions
from ._presets import PresetOptions
from ._responses import ResponseOptions
from ._surfaces import SurfaceOptions, no_volumes

_IMAGES = (
    *(field.name for field in fields(ImageOptions) if field.name != "allow_outside"),
    *(field.name for field in fields(DerivativeOptions)),
    *(field.name for field in fields(PresetOptions)),
)
_OF_VOLUMES = ("kernel", "mask", "smoothing", "resample", "native_grids", "centred")
Splitter = Callable[[list[Trial]], Split]


@dataclass(frozen=True, kw_only=True)
class PreparationOptions(
    ResponseOptions,
    DenoisingOptions,
    SurfaceOptions,
    GridOptions,
    ImageOptions,
    DerivativeOptions,
    PresetOptions,
):
    """Source of the recordings, and windows cut from them."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """Runs table (TSV), BIDS folder, or folder of a study."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """New folder."""
    kernel: tuple[int, int, int] = (4, 4, 4)
    """Patch size in voxels, z y x."""
    delay: float = 4.0
    """Seconds from onset to the first volume of a window (haemodynamic delay)."""
    window: int = 4
    """Volumes in a window."""
    onset_offset: float = 0.0
    """Seconds added to every onset, e.g. 12 where events ignore dummy volumes."""
    mask: Path | None = None
    """Brain mask (NIfTI); default: the masks of the runs, else computed."""
    units: Literal["psc", "zscore"] = "psc"
    """Percent signal change, or standard deviations of the run."""
    high_pass: Literal["auto", "none"] | float = "auto"
    """Shortest drift period removed, seconds; none (or 0): a line alone; auto: chosen from the
    training events, 128 or longer."""
    ignore: tuple[str, ...] = ()
    """Trial types or texts that are not trials, e.g. rest."""
    late: Literal["error", "drop"] = "error"
    """Trials with a window that leaves the run: stop with an error, or drop and list them."""
    task: str | None = None
    """BIDS task."""

    def plan(self, splitter: Callable[[], Splitter], *, own_split: bool = True) -> StorePlan:
        """Check all inputs of a store and return the plan; nothing is written.

        Parameters
        ----------
        splitter : callable
            Makes the function from trials to their split; called after the source was read.
        own_split : bool
            Whether the split of a study is used, if it has one.
        """
        if self.betas:
            return self._plan_betas(splitter)
        self.refuse_set(
            ("beta_divisor",),
            "volumes of runs",
            "as headers say the scale. Add --betas if they are",
        )
        runs, trials, window, known = self.cohort()
        split = known if own_split and known is not None else splitter()
        return self.planned(runs, trials, window, split)

    def planned(
        self,
        runs: Sequence[RunRecord],
        trials: list[Trial] | None,
        window: WindowSpec,
        split: Split | Splitter,
    ) -> StorePlan:
        """Plan a store of some runs; without `trials` those of their events files."""
        return plan_store(
            runs,
            window=window,
            kernel=self.kernel,
            split=split,
            mask=self.mask,
            units=self.units,
            high_pass_s=self.high_pass_s,
            smoothing_mm=self.smoothing,
            resample=self.resample,
            ignore=self.ignore,
            late=self.late,
            trials=trials,
            denoising=self.denoising(),
            exclude=self.exclusion(),
            layout=self.layout_spec(runs),
        )

    def _plan_betas(self, splitter: Callable[[], Splitter]) -> StorePlan:
        windows = ("delay", "window", "onset_offset", "fir", "high_pass", "late")
        self.refuse_set(windows, "--betas", "as the beta of a trial is its window")
        cleaned = tuple(field.name for field in fields(DenoisingOptions))
        self.refuse_set(cleaned, "--betas", "as the model of the betas had the confounds")
        if self.source.is_dir():
            raise ConfigError(
                f"prepare: --betas must be given with a runs table, got the folder {self.source}. "
                "Name betas, trial tables and masks in one (columns bold, events, mask)."
            )
        runs, *_ = self.cohort()
        return plan_betas(
            runs,
            kernel=self.kernel,
            split=splitter(),
            divisor=self.beta_divisor,
            mask=self.mask,
            units=self.units,
            smoothing_mm=self.smoothing,
            resample=self.resample,
            ignore=self.ignore,
        )

    def _window(self, runs: tuple[RunRecord, ...]) -> WindowSpec:
        if not self.fir or not runs:
            return WindowSpec(self.delay, self.window, self.onset_offset)
        self.refuse_set(("delay", "window"), "--fir", "which gives the lags of a window")
        tr = open_recording(runs[0]).tr
        return WindowSpec.of_lags(self.fir, tr=tr, onset_offset_s=self.onset_offset)

    @property
    def high_pass_s(self) -> float | Literal["auto"] | None:
        """Period of the filter as the functions take it: None for "none" and 0."""
        return None if self.high_pass in ("none", 0) else self.high_pass  # type: ignore[return-value]

    def cohort(
        self, *, need_events: bool = True, texts: bool = True
    ) -> tuple[tuple[RunRecord, ...], list[Trial] | None, WindowSpec, Split | None]:
        """Read runs, trials (None: those of the events files), window and split of the source.

        Without `texts`, the trials of a known data set are left to the caller.
        """
        runs, trials, window, split = self._cohort(need_events, texts)
        runs = self.with_parcels(runs)
        if no_volumes(runs) and not self.betas:
            self.refuse_set(
                _OF_VOLUMES,
                "surfaces and parcels",
                "which are no volumes. See --patch-size and --layout",
            )
        return runs, trials, window, split

    def _cohort(
        self, need_events: bool, texts: bool
    ) -> tuple[tuple[RunRecord, ...], list[Trial] | None, WindowSpec, Split | None]:
        if is_study(self.source):
            windows = ("delay", "window", "onset_offset", "fir", "late")
            self.refuse_set((*windows, "task", *_IMAGES), f"a study, {self.source}")
            study = Study.load(self.source)
            study.check_images()
            return study.runs, study.trials, study.window, study.split
        if not self.source.is_dir():
            check_table(self.source)
            self.refuse_set(("task", *_IMAGES), f"a runs table, {self.source}")
            outside = self.allow_outside
            runs = read_runs_table(self.source, allow_outside=outside, need_events=need_events)
            return runs, None, self._window(runs), None
        runs = self._runs_of_folder(need_events)
        window = self._window(runs)
        movies = None if self.data_preset is None else self.data_preset.movies
        trials = None
        if need_events and texts:
            trials = self.labelled(runs)[0]
            if movies is not None:
                trials = movies.trials(runs, self.source, window, allow_outside=self.allow_outside)
        return runs, trials, window, None

    def _runs_of_folder(self, need_events: bool) -> tuple[RunRecord, ...]:
        preset = self.data_preset
        if need_events:
            self.refuse_events()
        if preset is not None and preset.movies is not None:
            self.refuse_set(
                tuple(name for name in _IMAGES if name not in ("dataset", "missing")),
                f"--dataset {self.dataset}",
                "of which the file names are known",
            )
            return preset.movies.runs(
                self.source,
                task=self.task,
                atlas=self.parcels is None,
                missing=self.missing,
                allow_outside=self.allow_outside,
            )
        if preset is not None and preset.bold:
            self.refuse_set(
                tuple(name for name in ("task", *_IMAGES) if name != "dataset"),
                f"--dataset {self.dataset}",
                "of which the file names are known",
            )
            return runs_by_pattern(
                self.source,
                bold=preset.bold,
                mask=preset.mask,
                space=preset.space,
                tr=preset.tr,
                allow_outside=self.allow_outside,
            )
        return runs_from_bids(
            self.source,
            task=self.task,
            space=self.space,
            allow_outside=self.allow_outside,
            need_events=need_events,
            derivatives=self.derivatives,
            missing=self.missing,
            **self.image_entities(),
        )

    def labelled(
        self, runs: tuple[RunRecord, ...]
    ) -> tuple[list[Trial] | None, tuple[Surrogate, ...]]:
        """Return trials and texts of a known data set (``--dataset``); None and () of others."""
        dataset = None if self.data_preset is None else self.data_preset.trials
        if dataset is None:
            self.refuse_set(("explained_by",), "events with texts", "which need no explanation")
            return None, ()
        dropped: list[str] = []
        found = labelled_trials(
            runs,
            dataset,
            root=self.source,
            window=self._window(runs),
            explained_by=self.explained_by,
            dropped=dropped if self.late == "drop" else None,
        )
        if dropped:
            say(f"note: {len(dropped)} trials have windows that leave the run: {some(dropped)}")
        return found

    def refuse_set(
        self,
        names: tuple[str, ...],
        source: str,
        why: str = "which says it itself. Change it there",
    ) -> None:
        """Raise if one of the options is not at its default, because `source` says it itself.

        Options that ``--dataset`` sets are those of the data set, not of the user.
        """
        defaults = {field.name: field.default for field in fields(self)}
        own = {} if self.data_preset is None else self.data_preset.options
        given = [
            name
            for name in names
            # some commands have fewer options
            if name in defaults
            and getattr(self, name) not in (defaults[name], own.get(name, defaults[name]))
        ]
        if given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ConfigError(f"prepare: {options} must be left out for {source}, {why}.")

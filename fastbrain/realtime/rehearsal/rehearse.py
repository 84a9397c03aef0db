"""A rehearsal: a synthetic scanner in front of a whole session."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ...data import VoxelStore
from ...errors import InputError
from ..session.limits import PATIENCE_TRS
from ..session.session import Session
from ..session.settings import Settings
from ..session.window_decoder import WindowDecoder
from ..session.worker import Preprocessor
from ..session.writer import Sink
from ..volume import BadVolume, Source, Volume
from .faults import FaultPlan
from .scanner import FolderScanner, SyntheticBrain
from .tally import Tally
from .verdict import Verdict, judge

_TAIL_TRS = 2.0  # silence after the last volume, for what is still on its way


class ScannedSource:
    """The source of a rehearsal: it ends when the scanner has, and nothing comes any more.

    Parameters
    ----------
    source : Source
        Reads the folder of the scanner.
    scanner : FolderScanner
    """

    def __init__(self, source: Source, scanner: FolderScanner) -> None:
        self.source, self.scanner = source, scanner
        self.name, self.tr_s = source.name, source.tr_s

    def __iter__(self) -> Iterator[Volume | BadVolume | None]:
        """Start the scanner and yield what the source yields."""
        clock, silence = self.scanner.clock, _TAIL_TRS * self.scanner.pace_s
        self.scanner.start()
        last = clock.now()
        for item in self.source:
            yield item
            if item is not None or not self.scanner.finished.is_set():
                last = clock.now()
            elif clock.now() - last > silence:
                return

    def close(self) -> None:
        """Stop reading; may be called twice."""
        self.source.close()


def rehearse(
    like: VoxelStore,
    preprocessor: Preprocessor,
    decoder: WindowDecoder | None,
    *,
    plan: FaultPlan,
    settings: Settings,
    speed: float = 1.0,
    seed: int = 0,
    sinks: Sequence[Sink] = (),
) -> Verdict:
    """Let a synthetic scanner write its files into a folder, run a session on it, and judge it.

    Parameters
    ----------
    like : VoxelStore
        Preparation of the run.
    preprocessor : Preprocessor
    decoder : WindowDecoder or None
    plan : FaultPlan
    settings : Settings
    speed : float
        Volumes come so many times as fast as the repetition time. Deadlines stay those of the
        repetition time: a higher speed takes away the time between volumes and nothing else.
    seed : int
        Seed of the synthetic brain.
    sinks : sequence of Sink

    Raises
    ------
    InputError
        The speed is not positive.
    DiskError
        The temporary folder cannot be written.
    """
    from ..sources.spec import open_source

    if not 0 < speed < 1000:
        raise InputError(f"live: speed must lie between 0 and 1000, got {speed}. Choose 1 to 20.")
    tr_s = settings.tr_s or like.tr
    with tempfile.TemporaryDirectory(prefix="fastbrain-rehearsal-") as name:
        folder = Path(name)
        brain = SyntheticBrain(like, seed)
        scanner = FolderScanner(folder, brain, plan, pace_s=tr_s / speed)
        patience = PATIENCE_TRS * scanner.pace_s
        source = open_source(f"nifti:{folder}", tr_s=tr_s, first=0, patience_s=patience)
        tally = Tally(plan.volumes)
        session = Session(
            ScannedSource(source, scanner),
            preprocessor,
            decoder,
            settings=replace(settings, tr_s=tr_s, expected=plan.volumes),
            sinks=[tally, *sinks],
        )
        try:
            ending = session.run()
        finally:
            scanner.stop()
    verdict = judge(
        tally,
        plan,
        deadline_s=settings.deadline_s or tr_s,
        counters=ending.counters,
        decodes=decoder is not None,
    )
    whole = ending.reason in ("source ended", "complete")
    failed = () if whole else (f"it ended: {ending.reason}",)
    return replace(verdict, reasons=(*failed, *filter(None, [ending.message]), *verdict.reasons))

"""Decode a running scan: text within a repetition time, one record for each TR.

fastbrain live --rehearse runs/demo/run --faults usual

fastbrain live runs/demo/run --source dicom:/exports/today --log session.jsonl

fastbrain live --source nifti:/exports/today --tr 2.0 --log motion.jsonl

Without RUN it follows motion, tSNR, spikes and lost volumes, and decodes nothing. --rehearse lets a
synthetic scanner write files at the repetition time of the run and prints go or no-go.

Exit codes: 0 if the run was over, was silent for the idle timeout, or was stopped on the page, and
for go; 1 after an error, for no-go, and if lines could not be written; 130 for SIGINT, 143 for
SIGTERM. The log is complete in each case.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .._progress import say
from ._live_checks import check_options
from ._live_parts import (
    check_tr,
    make_decoder,
    make_preprocessor,
    make_settings,
    open_log,
    read_preparation,
)
from ._sampling import SamplingOptions

if TYPE_CHECKING:
    from ..realtime.session import Session, Sink

_CODES = {"SIGINT": 130, "SIGTERM": 143, "failed": 1}


@dataclass(frozen=True)
class Config(SamplingOptions):
    """Options of ``fastbrain live``."""

    run: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[RUN]")] = None
    """Run folder of LLM4Brain or BrainLLM; default: volumes are measured and not decoded."""
    source: str = ""
    """dicom:FOLDER, nifti:FOLDER, afni:PORT, or replay:FILE[@SPEED]."""
    series: str = ""
    """Series of a DICOM folder: its number or UID, or new for the next one to begin."""
    slices: int | None = None
    """Slices of a volume, where each has a file (GE, Philips) and the header does not say."""
    mask: Path | None = None
    """Mask image that AFNI was given, where it sends the values of its voxels."""
    tr: float | None = None
    """Repetition time of the scan in seconds; default: that of the run, or of the source."""
    log: Path | None = None
    """File of JSON lines with one record for each TR; an earlier one of the same run goes on."""
    log_text: bool = False
    """Write decoded text into the log."""
    show_text: bool = False
    """Print the number of each decoded volume and its text."""
    page: str = "none"
    """Port of the page (0: a free one), or none."""
    page_host: str = "127.0.0.1"
    """Address of the page; beyond this machine, it asks for the token that is printed."""
    phrases: Path | None = None
    """File with one phrase a line: ranked after each text."""
    prompt: str = ""
    """Question of all windows (LLM4Brain) or text to continue (BrainLLM); default: as trained."""
    subject: str = ""
    """Person of the scan, for a model with a table of subjects."""
    unknown_subject: Literal["refuse", "mean"] | None = None
    """A person that the model's table lacks: an error, or the mean of all entries."""
    control: bool = True
    """Compute confidence and no-brain margin after each text."""
    deadline: float | None = None
    """Seconds from the complete volume to its text; default: one TR."""
    idle_timeout: float | None = None
    """Seconds of silence after which the session ends; default: it goes on."""
    volumes: int | None = None
    """Number of volumes of the run, after which a session ends; of a rehearsal, by default 120."""
    tcp: int | None = None
    """Port on 127.0.0.1 that serves events as lines of JSON."""
    lsl: bool = False
    """Send texts and records as a marker stream of the Lab Streaming Layer."""
    lsl_markers: str = ""
    """Name of a marker stream of which the markers are noted in the log."""
    bids: Path | None = None
    """Folder of a BIDS derivative that the log is written to at the end."""
    bids_subject: str = ""
    """Label of the person in the derivative."""
    bids_task: str = "live"
    """Label of the task in the derivative."""
    rehearse: bool = False
    """Rehearse RUN with a synthetic scanner."""
    faults: str = ""
    """Faults of a rehearsal: usual, or shares such as drops=0.05,swaps=0.02; default: none."""
    speed: float = 1.0
    """Speed of a rehearsal; deadlines stay those of the TR."""
    device: str = "cpu"
    """Device for decoding, e.g. cuda."""


def run(config: Config) -> int:
    """Run a session or a rehearsal."""
    check_options(config)
    return _rehearse(config) if config.rehearse else _live(config)


def _live(config: Config) -> int:
    from ..realtime.session import Session
    from ..realtime.session.limits import PATIENCE_TRS
    from ..realtime.sources.spec import open_source

    like = read_preparation(config)
    check_tr(config, like)
    tr_s = config.tr if like is None else like.tr
    preprocessor, decoder = make_preprocessor(like), make_decoder(config, like)
    with ExitStack() as stack:
        # without a TR, a file that a later volume overtakes is damaged
        patience = None if tr_s is None else PATIENCE_TRS * tr_s
        source = open_source(
            config.source,
            tr_s=tr_s,
            patience_s=patience,
            series=int(config.series) if config.series.isdecimal() else config.series or None,
            slices=config.slices,
            mask=config.mask,
        )
        stack.callback(source.close)
        log = open_log(config, source.name, tr_s or source.tr_s)
        sinks: list[Sink] = [] if log is None else [log]
        sinks += _sinks(config)
        session = Session(
            source,
            preprocessor,
            decoder,
            # AFNI numbers the volumes of each connection from 0
            settings=make_settings(config, tr_s, numbered=source.name != "afni"),
            sinks=sinks,
            first=0 if log is None else log.first,
            open_before=() if log is None else log.open_before,
        )
        _start_outputs(config, session, stack)
        stack.enter_context(_signals(session.stop))
        say(f"live: {'decoding' if decoder else 'monitoring'} {config.source}")
        ending = session.run()
    if config.bids is not None:
        _derive(config)
    counts = ", ".join(f"{name} {count}" for name, count in ending.counters.items() if count)
    say(f"live: {ending.reason}: {counts or 'no volume came'}")
    code = _CODES.get(ending.reason, 0)
    return code or int(ending.counters["unwritten"] > 0)


def _rehearse(config: Config) -> int:
    from ..realtime.rehearsal import FaultPlan, FaultRates, rehearse, show

    rates = FaultRates.parse(config.faults)
    like = read_preparation(config)
    assert like is not None
    plan = FaultPlan.draw(config.volumes or 120, rates, seed=config.seed)
    settings = make_settings(config, like.tr, numbered=True)
    seconds = plan.volumes * like.tr / config.speed
    say(f"live: rehearsing {plan.volumes} volumes, {like.tr:g} s each: {seconds:.0f} s")
    log = open_log(config, "nifti", like.tr)
    verdict = rehearse(
        like,
        make_preprocessor(like),
        make_decoder(config, like),
        plan=plan,
        settings=settings,
        speed=config.speed,
        seed=config.seed,
        sinks=[sink for sink in (log, *_sinks(config)) if sink is not None],
    )
    show(verdict, tr_s=like.tr)
    return 0 if verdict.go else 1


def _sinks(config: Config) -> list[Sink]:
    from ..realtime.outputs import LslOutlet

    return ([LslOutlet()] if config.lsl else []) + ([_Shown()] if config.show_text else [])


def _start_outputs(config: Config, session: Session, stack: ExitStack) -> None:
    """Start what needs the session: TCP lines and markers, which send marks, and the page."""
    from ..realtime.outputs import LslMarkers, TcpLines

    if config.tcp is not None:
        server = TcpLines(config.tcp, mark=session.control.mark)
        session.add_sink(server)
        say(f"live: events on 127.0.0.1:{server.port}")
    if config.lsl_markers:
        stack.callback(LslMarkers(config.lsl_markers, session.control.mark).close)
    if config.page != "none":
        from ..realtime.page import serve_page

        page = serve_page(
            session.publisher, session.control, host=config.page_host, port=int(config.page)
        )
        stack.callback(page.close)
        # with its token: for the terminal alone
        print(f"live: page at {page.url}", file=sys.stderr, flush=True)


@contextmanager
def _signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the session instead of the process."""

    def handle(number: int, _frame: object) -> None:
        stop(signal.Signals(number).name)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _derive(config: Config) -> None:
    from ..realtime.outputs import write_bids_session

    assert config.log is not None
    assert config.bids is not None
    table = write_bids_session(
        config.log, config.bids, subject=config.bids_subject, task=config.bids_task
    )
    say(f"live: {table} written")


class _Shown:
    """Prints each text with the number of its volume."""

    dropped = 0

    def write(self, event: dict[str, Any]) -> None:
        if event["type"] == "text":
            print(f"{event['index']}\t{' '.join(event['text'].split())}", flush=True)

    def close(self) -> None: ...

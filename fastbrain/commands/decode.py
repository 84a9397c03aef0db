"""Write the text that a trained model reads from brain windows.

fastbrain decode runs/demo/run --out decoded.tsv

fastbrain decode runs/demo/run --bold bold.nii.gz --events events.tsv --out decoded.json

fastbrain decode runs/first --decoder retrieve --out sentences.tsv

fastbrain decode runs/brain --story pieman --out story.json

fastbrain decode runs/codes --study new-people --out ages.tsv

New scans are prepared by the settings of the run. A window that is far from all training windows is
held: it has a reason in place of a text. --story writes the running text of a whole story or run
with a run of BrainLLM, each window after the text decoded so far.

A run of vq-lm predicts its target, for example age, for each person of a study.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .._environment import check_file
from .._io import write_atomic, write_json
from .._progress import say
from ..errors import ConfigError, InputError
from ._encoders import TrustOptions
from ._kinds import given_options, refuse_options
from ._sampling import TextOptions

if TYPE_CHECKING:
    from ..inference import Decoding
    from ..inference.decoded_story import DecodedStory
    from ..vqlm.predict import PeoplePrediction

_OF_STORIES = ("run", "story", "context", "story_search", "store", "out", "device", "seed")


@dataclass(frozen=True)
class Config(TrustOptions, TextOptions):
    """Options of ``fastbrain decode``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = tyro.MISSING
    """Run folder from `fastbrain train`."""
    bold: tuple[Path, ...] = ()
    """New scans to decode (preprocessed NIfTI), in place of a store."""
    events: tuple[Path, ...] = ()
    """Events table of each scan, with onset and duration; texts are not needed."""
    every: int | None = None
    """In place of events: volumes from one window to the next; default: the length of a window."""
    subject: str = ""
    """Person of the scans, for file names without one."""
    tr: float | None = None
    """Repetition time of the scans in seconds, if they do not state it."""
    late: Literal["error", "drop"] = "error"
    """Events with a window that leaves the scan: stop with an error, or drop and list them."""
    store: Path | None = None
    """Another store (see prepare --like), or the current folder of the run's own; default: the
    run's own, at its recorded path or the same path relative to the run."""
    study: Path | None = None
    """For a run of vq-lm: folder of the study with the people to predict."""
    part: Literal["train", "val", "test"] | None = None
    """Part of the split to decode; default: test for the run's own store, else all trials."""
    out: Path | None = None
    """File to write: JSON if its name ends in .json, else TSV; default: print a TSV."""
    confidence: bool = True
    """Whether to compute margins to no brain and to other windows, with those of noise."""
    story: str | None = None
    """Running text of this story (all its runs) or run, in place of single windows (BrainLLM)."""
    context: Literal["own", "transcript"] = "own"
    """With --story: text before a window, the model's own or (teacher-forced) the transcript's."""
    story_search: Literal["published", "fastbrain"] = "published"
    """With --story: settings of the search, as published or with a penalty on repetition."""
    unknown_subject: Literal["refuse", "mean"] | None = None
    """People that the model's table of subjects lacks: an error, or the mean of all entries."""
    engine: bool = False
    """Write texts with the decode engine, where it runs the language model: faster on a GPU and for
    few windows, slower for many windows on a CPU. Not for --method sample."""
    decoder: Literal["soft-prompt", "retrieve", "edit"] = "soft-prompt"
    """Decoder: the run as it was trained, or a sentence decoder that `fastbrain evaluate
    --decoder` fitted and kept in it."""
    llm: str | None = None
    """Language model of retrieve and edit, a folder or a name, where it is not at its recorded
    place; it must be that of the fit."""
    sentence_encoder: str | None = None
    """Sentence encoder of retrieve and edit, likewise."""
    device: str = "cpu"
    """Device for decoding, e.g. cuda."""
    seed: int | None = None
    """Seed of sampling and of the windows that confidence compares; default: 0, and that of the fit
    for what retrieve and edit write."""


def run(config: Config) -> None:
    """Decode the windows, or predict the people of a study, and write the results."""
    from .._run_kind import run_kind

    config.trust()
    if config.out is not None:
        check_file(config.out, function="decode")
        _refuse_sidecar(config.out, config.bold)
    kind = run_kind(config.run, function="decode")
    if kind == "vq-lm":
        _people(config)
        return
    refuse_options(config, ["study"], function="decode", kind=kind)
    if config.story is not None:
        _story(config, config.story)
        return
    if config.context != "own" or config.story_search != "published":
        raise ConfigError("decode: --context and --story-search must come with --story.")
    _windows(config)


def _refuse_sidecar(out: Path, images: tuple[Path, ...]) -> None:
    from ..data.readers.entities import inherits, sidecar_beside

    path = out.resolve()
    for image in images:
        own = path.name == sidecar_beside(image).name
        inherited = path.suffix == ".json" and inherits(image, path)
        if path.parent == image.resolve().parent and (own or inherited):
            raise InputError(
                f"decode: out must not be the name of a sidecar, got that of {image}, {out}. "
                "Choose another name."
            )


def _people(config: Config) -> None:
    from ..data.studies.connectome_study import read_rest
    from ..vqlm.predict import predict_people

    names = [f.name for f in fields(Config) if f.name not in ("run", "study", "out")]
    refuse_options(config, names, function="decode", kind="vq-lm")
    if config.study is None:
        raise InputError(
            "decode: a run of vq-lm must get people to predict, got none. Name the folder of a "
            "study: --study STUDY."
        )
    found = predict_people(config.run, read_rest(config.study))
    _write(config.out, found, f"{len(found.people)} people")


def _windows(config: Config) -> None:
    from ..inference import decode

    sampling, decoder = config.sampling_of(config.seed or 0), config.decoder
    if decoder == "soft-prompt":
        if given := given_options(config, ["llm", "sentence_encoder"]):
            raise ConfigError(
                f"decode: {given[0]} must come with --decoder retrieve or "
                "edit, got another decoder."
            )
    elif sampling != TextOptions().sampling_of(config.seed or 0):
        raise ConfigError(
            f"decode: options of sampling must be left out for --decoder {decoder}, which has "
            "settings of its own to write."
        )
    found = decode(
        config.run,
        config.bold,
        events=config.events,
        every=config.every,
        store=config.store,
        part=config.part,
        subject=config.subject,
        tr=config.tr,
        late=config.late,
        sampling=sampling if decoder == "soft-prompt" else None,
        confidence=config.confidence,
        unknown_subject=config.unknown_subject,
        device=config.device,
        engine=config.engine,
        decoder=None if decoder == "soft-prompt" else decoder,
        llm=config.llm,
        encoder=config.sentence_encoder,
        seed=config.seed,
    )
    decoded = len(found.windows) - len(found.held)
    _write(config.out, found, f"{decoded} texts of {len(found.windows)} windows")


def _write(out: Path | None, found: Decoding | DecodedStory | PeoplePrediction, what: str) -> None:
    if out is None:
        print(found.to_tsv(), end="")
        return
    if out.suffix == ".json":
        write_json(out, found.to_json())
    else:
        write_atomic(out, found.to_tsv())
    say(f"{what} written to {out}")


def _story(config: Config, story: str) -> None:
    """Decode a whole story, print its scores and write its text."""
    from ..brainllm import story_search
    from ..evaluation.report.table import aligned, score_rows
    from ..inference import decode_story

    others = [f.name for f in fields(config) if f.name not in _OF_STORIES]
    if given := given_options(config, others):
        raise ConfigError(f"decode: {', '.join(given)} must be left out with --story, got both.")
    found = decode_story(
        config.run,
        story,
        store=config.store,
        search=story_search(config.story_search),
        context=config.context,
        device=config.device,
        seed=config.seed or 0,
    )
    if found.scores:
        columns = {"name": "metric", "mode": "mode", "value": "decoded"}
        columns |= {"interval": "95 % interval", "chance": "chance", "control": "chance from"}
        columns |= {"p": "p", "adjusted": "p adjusted"}
        table = aligned(score_rows(found.scores), columns)
        say(f"{table}\nn = {found.scores[0].n} windows; deranged: shifted within their run")
    else:
        say(f"no scores: {found.facts['not_scored']}")
    _write(config.out, found, f"{len(found.segments)} windows")

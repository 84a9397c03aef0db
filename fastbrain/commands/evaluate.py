"""Score a trained model beside its controls and write the report.

fastbrain evaluate runs/first --derangements 1000

fastbrain evaluate runs/first --store other-study --name other

With the store of another data set, prepared by `fastbrain prepare --like`, the run is scored on all
of its windows, after an audit against the training part; the run's own scores are kept.

fastbrain evaluate runs/first --human-study forms --raters 5

fastbrain evaluate runs/first --decoder retrieve --llm smollm2

With --decoder, another decoder is fitted on the training part of the run and scored in its place,
under the same controls.

With --human-study, people compare the texts of the run: a form for each of them, and a key.

A run on several voxel grids is scored grid by grid, then all together; RUN/grids/NAME has the
report of each.

A run of vq-lm is scored on its test people, beside baselines without codes or language model.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .._progress import say
from ..errors import ConfigError
from ._decoders import DecoderOptions
from ._encoders import TrustOptions
from ._human_study import HumanStudyOptions, write_forms, write_forms_of_evaluated
from ._kinds import given_options, refuse_options
from ._sampling import SamplingOptions

if TYPE_CHECKING:
    from ..evaluation.metrics.bertscore import BertModel
    from ..evaluation.other_store import OtherStore


@dataclass(frozen=True)
class Config(HumanStudyOptions, DecoderOptions, TrustOptions, SamplingOptions):
    """Options of ``fastbrain evaluate``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = tyro.MISSING
    """Run folder from `fastbrain train`."""
    derangements: int = 100
    """Number of derangements for the comparison, at least 100."""
    bert: bool = True
    """Whether to use the sentence encoder of the extra `demo`. Without it there is no BERTScore, no
    cosine and no identification by meaning, and the linear baseline predicts word frequencies."""
    bert_model: str | None = None
    """Encoder for BERTScore, a folder or a name on the hub, e.g. roberta-large; default: the
    packaged MiniLM."""
    bert_layer: int | None = None
    """Layer of that encoder; default: that of bert-score's own table (17 of roberta-large)."""
    bert_rescale: bool = False
    """Whether to rescale with bert-score's English baseline of that encoder and layer."""
    fluency_model: str | None = None
    """Second language model, a folder or a name on the hub, for the likelihood of all texts; not
    that of the decoder, which chose its texts by it. Default: none."""
    store: Path | None = None
    """Folder of a store. That of training, if it was moved; any other store is another data set,
    on which the run is scored with an audit of its own. Default: the test part of training."""
    name: str | None = None
    """Name of the other data set; the results go to RUN/evaluations/NAME. Default: its folder's."""
    own_store: Path | None = None
    """With another data set: current folder of the store of training, if it was moved."""
    allow_leak: str | None = None
    """Reason why a leak between training and the other data set is acceptable; included in every
    report."""
    study: Path | None = None
    """For a run of vq-lm: folder of its study; default: its recorded path."""
    unknown_subject: Literal["refuse", "mean"] | None = None
    """People that the model's table of subjects lacks: an error, or the mean of all entries."""
    participants: Path | None = None
    """Table of people (participants.tsv), for scores by the columns of --by."""
    by: tuple[str, ...] = ()
    """Columns of that table, e.g. sex age; numbers are divided at their median."""
    engine: bool = False
    """Write texts with the decode engine, where it runs the language model: faster on a GPU and for
    few windows, slower for many windows on a CPU. Not for --method sample."""
    device: str = "cpu"
    """Device for decoding, e.g. cuda."""


def run(config: Config) -> None:
    """Evaluate and print the scores; write the forms of a preference test, if asked for."""
    from .._run_kind import run_kind

    config.trust()
    kind = run_kind(config.run, function="evaluate")
    if kind == "vq-lm":
        _people(config)
        return
    refuse_options(config, ["study"], function="evaluate", kind=kind)
    config.choice(config)
    if kind == "llm4brain" and _grids(config):
        return
    if not write_forms_of_evaluated(config):
        _texts(config, kind)
        write_forms(config)


def _people(config: Config) -> None:
    from ..vqlm.evaluate_run import evaluate_vqlm_run

    names = [f.name for f in fields(Config) if f.name not in ("run", "study", "seed")]
    refuse_options(config, names, function="evaluate", kind="vq-lm")
    print(evaluate_vqlm_run(config.run, config.study, seed=config.seed).table())
    say(f"people: subjects.md; report: report.html; for a paper: paper/; in {config.run}")


def _texts(config: Config, kind: str) -> None:
    from ..brainllm.evaluate import evaluate_brainllm_run, refuse_unknown_subject
    from ..evaluation.other_store import FOLDER
    from ..evaluation.report.other_decoder import place_of
    from ..evaluation.report.table import metrics_table
    from ..llm4brain import evaluate_run

    if kind == "brainllm":
        refuse_unknown_subject("evaluate", config.unknown_subject)
        judge = evaluate_brainllm_run
    else:
        judge = partial(evaluate_run, unknown_subject=config.unknown_subject)
    store, other = _stores(config)
    result = judge(
        config.run,
        store=store,
        other=other,
        **_options(config),
    )
    print(
        metrics_table(
            result.scores,
            derangements=config.derangements,
            distinct=result.conditions.distinct,
            facts=result.facts,
        )
    )
    out = config.run if other is None else config.run / FOLDER / other.name
    out = place_of(out, config.choice(config))
    say(f"people: subjects.md; report: report.html; for a paper: paper/; in {out}")


def _options(config: Config) -> dict[str, Any]:
    """Arguments that runs of one grid and of several have in common."""
    return {
        "sampling": config.sampling(),
        "count": config.derangements,
        "seed": config.seed,
        "bert": _bert(config),
        "participants": config.participants,
        "by": config.by,
        "device": config.device,
        "engine": config.engine,
        "fluency_model": config.fluency_model,
        "decoder": config.choice(config),
    }


def _grids(config: Config) -> bool:
    """Evaluate a run on several grids; return whether it is one."""
    from ..llm4brain.evaluate_grids import evaluate_grids
    from ..llm4brain.joint_run import grids_of_run

    folders = grids_of_run(config.run, function="evaluate")
    if not folders:
        return False
    names = ("name", "own_store", "allow_leak", "human_study")
    if given := given_options(config, names):
        raise ConfigError(
            f"evaluate: {given[0]} must be left out for a run on several grids, got it for "
            f"{config.run}. Name the run of one: {next(iter(folders.values()))}."
        )
    found = evaluate_grids(
        config.run,
        store=config.store,
        unknown_subject=config.unknown_subject,
        **_options(config),
    )
    print(found.table())
    print(f"\n{(config.run / 'subjects.md').read_text()}")
    say(f"all grids: {config.run / 'units.md'}; reports: in {config.run / 'grids'}")
    return True


def _stores(config: Config) -> tuple[Path | None, OtherStore | None]:
    """Folder of the store of training, if it is not the recorded one, and the other data set."""
    from .._runfiles import read_manifest
    from ..data import VoxelStore
    from ..evaluation.other_store import OtherStore

    found = None if config.store is None else VoxelStore.open(config.store)
    wanted = read_manifest(config.run, function="evaluate")["store_fingerprint"]
    if found is None or found.fingerprint() == wanted:
        if given := given_options(config, ["name", "own_store", "allow_leak"]):
            raise ConfigError(
                f"evaluate: {given[0]} must come with another data set, got the store of training. "
                "Name one: --store STORE."
            )
        return config.store, None
    name = found.path.name if config.name is None else config.name
    say(f"cross-data-set evaluation: {config.store} is not the store of training")
    return config.own_store, OtherStore(found, name, config.allow_leak)


def _bert(config: Config) -> bool | BertModel:
    from ..evaluation.metrics.bertscore import named_bert

    if config.bert_model is None:
        if config.bert_layer is not None or config.bert_rescale:
            raise ConfigError(
                "evaluate: --bert-layer and --bert-rescale must come with --bert-model, got none."
            )
        return config.bert
    if not config.bert:
        raise ConfigError("evaluate: --bert-model and --no-bert must not both be given. Use one.")
    return named_bert(config.bert_model, config.bert_layer, rescale=config.bert_rescale)

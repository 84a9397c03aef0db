"""Training run of the fMRI language model: autoencoder, shared vocabulary, language model.

The run folder::

    config.json        complete VQLMConfig, with the values taken from the preset
    base/ base.json    the initial language model, or its location
    split.json         people of the training, validation and test parts
    vq/                log and checkpoints of the autoencoder
    coder/             the autoencoder (:func:`fastbrain.vqlm.load_vq`)
    words/             components of connectivity, fitted on the training people
    tune/              log and checkpoints of the language model
    llm/               language model and tokenizer with codes, as transformers saves them
    coding.json        R² of the codes on the test people, code usage, domain probe
    image.json encoder.json vlm.json    predictions of the baselines for all people
    manifest.json      kind of the run, and the study with its fingerprint; written last

A study of connectomes has no vq/, coder/, coding.json and baselines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..._environment import check_environment
from ..._io import new_output, write_atomic, write_json
from ..._progress import say
from ...data import RestingStudy
from ...evaluation.controls.clinical_baselines import connectivity_features
from ...lm.code_vocabulary import CodeVocabulary, extend_vocabulary
from ...lm.digit_tokens import DigitTokens
from ...lm.kept_llm import find_llm, keep_llm, kept_llm
from ...lm.loading import load_llm
from ...lm.sources import find_model
from ...lm.word_lm import small_llm
from ...nn.config_io import require
from ...training.data_parallel import check_batch_sizes
from ...training.processes import processes, run_together
from ...training.run import Row
from ...training.run_folder import absolute_paths, claim
from ...training.run_log import run_log
from ...training.trackers import check_trackers
from ..autoencoder import VQAutoencoder
from ..model_card import card_text
from ..question import decoded_series, recording_codes, spelled
from ..run_records import write_manifest
from .baselines import write_baselines
from .coder_stage import code_vectors, coder_settings, scored_coding, trained_coder
from .config import VQLMConfig
from .language import corpus, text_side
from .people import Study, check_context, check_lengths, check_parts, check_targets, part_people
from .tuning import Reading, tune


@run_together
def train_vqlm(
    study: Study,
    out: str | Path,
    config: VQLMConfig,
    *,
    resume: bool = False,
    fused: Callable[[Any], object] | None = None,
    log: Sequence[str] = (),
    on_epoch: Callable[[Row], None] | None = None,
    split: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Train autoencoder, vocabulary and language model on the training people of a study.

    The scale, the codebook, the components of connectivity and all weights are fitted on the
    training people; the validation people choose the epochs to keep. A study of connectomes needs
    no autoencoder: the language model reads the components alone.

    Parameters
    ----------
    study : RestingStudy or ConnectomeStudy
    out : str or Path
        New run folder.
    config : VQLMConfig
    resume : bool
        Continue an interrupted run.
    fused : callable, optional
        Accelerates the PEFT model in place: ``fastbrain.integrations.peft.accelerate_peft``.
    log : sequence of {"tensorboard", "wandb", "trackio"}
        Trackers that receive the numbers of every epoch, besides the two ``log.jsonl``.
    on_epoch : callable, optional
        Receives the row of every finished epoch of both stages; what it raises stops training.
    split : mapping of str to sequence of str, optional
        People of ``"train"``, ``"val"`` and ``"test"``; default: drawn by the configuration.

    Raises
    ------
    CohortError
        The target or the part of a person is missing.
    SplitError
        There are too few families, or one is in two parts.
    InputError
        A recording is too short, the language model's tokenizer has no digits, or its context is
        too short for a sequence.
    TrainingError
        A tracker cannot be opened, or training cannot continue.
    ConfigError
        A name in `log` is unknown, connectomes are to be read without words, or see
        :func:`coder_settings`.
    MissingPartError
        LoRA is requested and peft is not installed, or the package of a tracker.
    OutputExistsError
        `out` is not empty and `resume` is false.
    CheckpointError
        Configuration or people differ from the run to resume, or its files are damaged.
    DiskError
        `out` is not writable.
    """
    trackers = check_trackers(log, function="train_vqlm")
    config = absolute_paths(config, files=(), models=("llm", "vlm"))
    scale = config.kind == "scale"
    answers = study.numbers(config.target) if scale else study.labels(config.target)
    labels = () if scale else tuple(sorted({str(a) for a in answers.values()}))
    texts = corpus(config, labels)
    split = part_people(study, config) if split is None else check_parts(study, split)
    check_targets(answers, split, places=config.places if scale else None)
    settings = coder_settings(config, regions=len(study.regions))
    sizes, stage, steps = settings.sizes, settings.stage, settings.steps
    config = replace(config, steps=steps, code_start=settings.code_start)
    length = config.words.components
    if isinstance(study, RestingStudy):
        check_lengths(study, steps, sizes.patch)
        length = max(length, len(study.regions) * steps + 2)
    else:
        require(config, "words", length > 0, "hold components for connectomes")
    check_environment(out, function="train_vqlm")
    check_batch_sizes(stage if isinstance(study, RestingStudy) else None, config.tune)
    for name in (config.llm, config.vlm):
        if name is not None and not resume:
            find_model(name, function="train_vqlm")
    out, team = Path(out), processes()
    room = 254 + length
    with team.first_alone() as first:
        if first:
            new_output(out, resume=resume)
            claim(out, {"config": config.to_dict(), "split": split}, function="train_vqlm")
            write_json(out / "split.json", split)
            if kept_llm(out, folder="base") is None:
                keep_llm(config.llm or small_llm(texts, context=room), out, folder="base")
    base = kept_llm(out, folder="base")
    assert base is not None
    llm, tokenizer = load_llm(str(find_llm(base, out, folder="base")))
    digits = DigitTokens.find(tokenizer, places=config.places) if scale else None
    for value in answers.values():
        # raises for a word that the language model does not know
        answer = spelled(value, tokenizer, digits)
    text = tokenizer.encode(config.question, add_special_tokens=False)
    check_context(llm, length + len(text) + len(answer))

    logged = (out / "vq", out / "tune") if isinstance(study, RestingStudy) else (out / "tune",)
    with run_log(
        out, logged, trackers, config=config.to_dict(), on_epoch=on_epoch, function="train_vqlm"
    ) as each_epoch:
        if isinstance(study, RestingStudy):
            runs = {part: {p: study.series[p] for p in people} for part, people in split.items()}
            side, seed = text_side(llm, tokenizer, texts), config.seed
            coder = trained_coder(
                study, runs, settings, side, out, seed=seed, resume=resume, on_epoch=each_epoch
            )
            if team.first and not (out / "coding.json").exists():
                write_json(out / "coding.json", scored_coding(coder, runs, settings, side, out))
            reading = _reading(coder, study, stage.frames, words=config.words.components > 0)
            start = code_vectors(coder, runs, settings)
            size = sizes.quantiser.size
            vocabulary = extend_vocabulary(llm, tokenizer, size, **start, seed=seed)
        else:
            vocabulary = CodeVocabulary.empty()
            reading = Reading({}, study.features(), study.regions)
        tune(
            llm,
            tokenizer,
            vocabulary,
            reading,
            answers,
            split,
            config,
            steps=steps,
            out=out,
            resume=resume,
            fused=fused,
            on_epoch=each_epoch,
        )
    with team.first_alone() as first:
        if first and isinstance(study, RestingStudy):
            write_baselines(
                out,
                study,
                answers,
                config,
                train=split["train"],
                labels=labels,
                coder=coder,
                load_base=lambda: load_llm(str(find_llm(base, out, folder="base"))),
                frames=steps * sizes.patch,
                window=stage.frames,
            )
        if first:
            write_manifest(out, study, config.target, split)
            write_atomic(out / "README.md", card_text(out))
    say(f"vq-lm: trained on {len(split['train'])} people, in {out}")


def _reading(coder: VQAutoencoder, study: RestingStudy, frames: int, *, words: bool) -> Reading:
    """Codes of all people, and connectivity of the series decoded from them if it is read."""
    codes = {p: recording_codes(coder, series, frames) for p, series in study.series.items()}
    features = {}
    if words:
        decoded = {p: decoded_series(coder, found, frames) for p, found in codes.items()}
        features = {p: connectivity_features(values.T) for p, values in decoded.items()}
    return Reading(codes, features, study.regions)

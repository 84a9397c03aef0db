"""Training run of the fMRI language model: autoencoder, shared vocabulary, language model.

The run folder::

    config.json        complete VQLMConfig, with the values taken from the preset
    base/ base.json    the initial language model, or its location
    split.json         people of the training, validation and test parts
    vq/                log and checkpoints of the autoencoder
    coder/             the autoencoder (:func:`fastbrain.vqlm.load_vq`)
    tune/              log and checkpoints of the language model
    llm/               language model and tokenizer with codes, as transformers saves them
    coding.json        R² of the codes on the test people, code usage, domain probe
    image.json encoder.json vlm.json    predictions of the baselines for all people
    manifest.json      kind of the run, and the study with its fingerprint; written last
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..._environment import check_environment
from ..._io import folder_atomic, new_output, write_json
from ..._progress import say
from ...data import RestingStudy
from ...lm.code_vocabulary import extend_vocabulary
from ...lm.digit_tokens import DigitTokens
from ...lm.kept_llm import find_llm, keep_llm, kept_llm
from ...lm.loading import load_llm
from ...lm.sources import find_model
from ...lm.word_lm import small_llm
from ...nn.saved_folder import seal
from ...training.loop import check_alone, fit
from ...training.run import Row
from ...training.run_folder import absolute_paths, claim
from ...training.run_log import run_log
from ...training.trackers import check_trackers
from ...training.validation import mean_validation
from ..question import Question, recording_codes, spelled
from ..run_records import write_manifest
from .baselines import write_baselines
from .code_rows import CodeRows, RowLoader
from .coder_stage import code_vectors, coder_settings, scored_coding, trained_coder
from .config import VQLMConfig
from .language import adapted, corpus, text_side
from .people import check_context, check_lengths, check_parts, part_people


def train_vqlm(
    study: RestingStudy,
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

    The scale, the codebook and all weights are fitted on the training people; the validation people
    choose the epochs to keep.

    Parameters
    ----------
    study : RestingStudy
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
        The target of a person is missing.
    SplitError
        There are too few families.
    InputError
        A recording is too short, the language model's tokenizer has no digits, or its context is
        too short for a sequence.
    TrainingError
        Several processes run this training, or a tracker cannot be opened.
    ConfigError
        A name in `log` is unknown, or see :func:`coder_settings`.
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
    settings = coder_settings(config, regions=len(study.regions))
    sizes, stage, steps = settings.sizes, settings.stage, settings.steps
    config = replace(config, steps=steps, code_start=settings.code_start)
    check_lengths(study, steps, sizes.patch)
    check_alone("train_vqlm")
    check_environment(out, function="train_vqlm")
    for name in (config.llm, config.vlm):
        if name is not None and not resume:
            find_model(name, function="train_vqlm")
    out = new_output(out, resume=resume)
    claim(out, {"config": config.to_dict(), "split": split}, function="train_vqlm")
    write_json(out / "split.json", split)
    base = kept_llm(out, folder="base")
    room = 256 + len(study.regions) * steps
    base = base or keep_llm(config.llm or small_llm(texts, context=room), out, folder="base")
    llm, tokenizer = load_llm(str(find_llm(base, out, folder="base")))
    digits = DigitTokens.find(tokenizer, places=config.places) if scale else None
    for value in answers.values():
        # raise for an invalid answer before anything is trained
        answer = spelled(value, tokenizer, digits)
    text = tokenizer.encode(config.question, add_special_tokens=False)
    check_context(llm, len(study.regions) * steps + 2 + len(text) + len(answer))

    runs = {part: {p: study.series[p] for p in people} for part, people in split.items()}
    side = text_side(llm, tokenizer, texts)
    logged = (out / "vq", out / "tune")
    with run_log(
        out, logged, trackers, config=config.to_dict(), on_epoch=on_epoch, function="train_vqlm"
    ) as each_epoch:
        coder = trained_coder(
            study, runs, settings, side, out, seed=config.seed, resume=resume, on_epoch=each_epoch
        )
        if not (out / "coding.json").exists():
            write_json(out / "coding.json", scored_coding(coder, runs, settings, side, out))
        codes = {p: recording_codes(coder, study.series[p], stage.frames) for p in study.series}
        start = code_vectors(coder, runs, settings)
        size = sizes.quantiser.size
        vocabulary = extend_vocabulary(llm, tokenizer, size, **start, seed=config.seed)
        question = Question(tokenizer, vocabulary, digits, config.question)
        tuned = adapted(llm, vocabulary, config.rank, seed=config.seed)
        if fused is not None and config.rank:
            fused(tuned)

        def rows(part: str, shuffle: bool) -> RowLoader:
            return RowLoader(
                {p: codes[p] for p in split[part]},
                answers,
                question,
                steps=steps,
                batch_size=config.tune.batch_size,
                draws=config.draws,
                shuffle=shuffle,
                seed=config.seed,
            )

        objective = CodeRows(tuned, vocabulary, code_weight=config.code_weight)
        fit(
            objective,
            rows("train", shuffle=True),
            replace(config.tune, seed=config.seed),
            run_dir=out / "tune",
            resume=resume,
            validate=mean_validation(objective, rows("val", shuffle=False)),
            best="answer_loss",
            on_epoch=each_epoch,
        )
    plain = tuned.merge_and_unload() if config.rank else tuned
    with folder_atomic(out / "llm", replace=resume) as folder:
        plain.eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        seal(folder)
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
    write_manifest(out, study, config.target, split)
    say(f"vq-lm: trained on {len(split['train'])} people, in {out}")

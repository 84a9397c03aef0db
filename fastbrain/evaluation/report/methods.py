"""The methods section of a paper on one evaluation, as Markdown with citations.

Every number comes from the store, the manifest, the training logs or the scores. Sentences with
unknown facts are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ... import __version__
from ...data import VoxelStore
from ..protocol import Evaluation
from .methods_cleaning import cleaning_sentences
from .methods_scoring import scoring_sentences
from .run_facts import RunFacts, counted

_FIELDS = {"run_id": "run", "subject": "participant"}
_UNITS = {
    "psc": "Values were expressed in percent of each voxel's mean in the run.",
    "zscore": "Values were divided by each voxel's standard deviation in the run.",
}


def methods_text(facts: RunFacts, evaluation: Evaluation, *, glass_brain: bool = False) -> str:
    """Write the methods section.

    Parameters
    ----------
    facts : RunFacts
    evaluation : Evaluation
    glass_brain : bool
        Whether nilearn drew the brain map.
    """
    paragraphs = {
        "Data": _data(facts),
        "Decoder": _decoder(facts, evaluation),
        "Evaluation": scoring_sentences(evaluation),
        "Software": _software(facts, glass_brain),
    }
    text = "\n\n".join(f"**{name}.** {' '.join(found)}" for name, found in paragraphs.items())
    return f"# Methods\n\n{text}\n"


def _data(facts: RunFacts) -> list[str]:
    store, split = facts.store, facts.store.split
    found = [
        *(_volumes(store) if store.info.beta_divisor is None else _betas(store)),
        f"The brain mask held {int(store.grid.mask.sum()):,} {store.grid.location_words}; "
        "their means and standard deviations were computed from the "
        f"{counted(len(store.fit_runs), 'training run')} alone.",
        _sample(store),
        f"There were {len(split.train):,} training, {len(split.val):,} validation and "
        f"{len(split.test):,} test samples, the latter of "
        f"{counted(len({store.by_id[t].subject for t in split.test}), 'participant')}.",
    ]
    if split.keys:
        names = _words([_FIELDS.get(key, key) for key in split.keys], "or")
        found.append(f"Test samples share no {names} with the samples of training and validation.")
    if other := facts.manifest.get("cross_data_set"):
        found.append(
            f"The test samples are of another data set ({other['name']}), prepared in the form of "
            "the training samples; nothing was fitted on them (cross-data-set evaluation)."
        )
    if split.closed_set:
        found.append("Their texts were declared a closed set, which training may contain.")
    if facts.held:
        found.append(
            f"{counted(facts.held, 'test sample')} far from all training samples (by mean, spread, "
            "zeros, clipped values or mean image) had no score."
        )
    return found + _audit(facts.manifest.get("audit"))


def _volumes(store: VoxelStore) -> list[str]:
    volumes = sum(run["n_volumes"] for run in store.info.runs.values())
    people = counted(len({t.subject for t in store.trials}), "participant")
    return [
        f"Functional MRI of {people} ({counted(len(store.info.runs), 'run')}, {volumes:,} volumes, "
        f"repetition time {store.tr:g} s) was read with NiBabel [@brett_nibabel].",
        *_grid(store),
        *cleaning_sentences(store),
        _UNITS[store.units],
    ]


def _betas(store: VoxelStore) -> list[str]:
    people = counted(len({t.subject for t in store.trials}), "participant")
    files = counted(len(store.info.runs), "file")
    units = {
        "psc": "Betas were in percent signal change.",
        "zscore": "The betas of each voxel were standardised over the trials of each file.",
    }
    return [
        f"Response estimates of single trials (betas) of {people} ({files}) were read with NiBabel "
        "[@brett_nibabel].",
        *_grid(store),
        units[store.units],
    ]


def _sample(store: VoxelStore) -> str:
    spec = store.window_spec
    if store.info.beta_divisor is not None:
        return "A sample was the beta of one trial."
    frames, seconds = counted(spec.window_trs, "volume"), spec.window_trs * store.tr
    shifted = (
        f", with {spec.onset_offset_s:g} s added to every onset" if spec.onset_offset_s else ""
    )
    return (
        f"A sample was a window of {frames} ({seconds:g} s) from {spec.delay_s:g} s after the "
        f"onset of its stimulus{shifted}."
    )


def _grid(store: VoxelStore) -> list[str]:
    found = []
    if store.info.space:
        size = f" (resolution {store.info.resolution})" if store.info.resolution else ""
        found.append(f"Images were in the space {store.info.space}{size}.")
    if store.info.smoothing_mm is not None:
        found.append(
            "Volumes were smoothed with a Gaussian of "
            f"{store.info.smoothing_mm:g} mm full width at half maximum."
        )
    if store.info.resampled:
        found.append(
            "Runs were resampled to a common voxel grid by linear interpolation, their brain masks "
            "by nearest voxel."
        )
    return found


def _audit(audit: Mapping[str, Any] | None) -> list[str]:
    if audit is None:
        return []
    checks = "identical scans, overlapping windows, shared texts, stimuli, stories and relatives"
    if audit["clean"]:
        found = f"An automatic audit for {checks} found no leak between the parts"
    else:
        kinds = _words(sorted({leak["means"] for leak in audit["findings"]}), "and")
        found = f"An automatic audit for {checks} found: {kinds}"
        if audit.get("allowed"):
            found += f" (accepted because: {audit['allowed']})"
    guard = audit.get("guard_trs")
    apart = (
        f"; windows of different parts are at least {counted(guard, 'volume')} apart"
        if guard
        else ""
    )
    unknown = audit.get("unchecked") or ()
    more = [f"No sample states its {_words(list(unknown), 'or')}."] if unknown else []
    return [f"{found}{apart}.", *more]


def _decoder(facts: RunFacts, evaluation: Evaluation) -> list[str]:
    manifest = facts.manifest
    own = (
        f"Texts were decoded with {facts.recipe.system}, as implemented in fastbrain {__version__} "
        "[@fastbrain]."
    )
    size = facts.recipe.parameters.get("language model")
    llm = f"The language model was {Path(manifest['llm']).name}"
    record = manifest.get("language_model") or {}
    llm += f" at revision {record['revision'][:12]}" if record.get("revision") else ""
    llm += f" ({size:,} parameters)" if size else ""
    found = [own, f"{llm}.", *facts.recipe.model]
    if facts.recipe.parameters.get("decoder"):
        found.append(f"All other parts have {facts.recipe.parameters['decoder']:,} parameters.")
    return [*found, *_training(facts), *_adaptation(manifest), *_sampling(evaluation)]


def _training(facts: RunFacts) -> list[str]:
    said = [_stage(facts, name) for name in facts.epochs]
    if not said:
        return []
    adam = " with AdamW [@loshchilov2019adamw]" if facts.stages else ""
    kept = [bool(config.get("keep_best")) for config in facts.stages.values()]
    found = [f"It was trained{adam} in {counted(len(said), 'stage')}: {'; '.join(said)}."]
    if kept and all(kept) and facts.store.split.val:
        found.append("Of each stage with validation, the weights of its best epoch were kept.")
    return found


def _stage(facts: RunFacts, name: str) -> str:
    config, optim = facts.stages.get(name, {}), facts.stages.get(name, {}).get("optim", {})
    settings = [counted(facts.epochs[name], "epoch")]
    if "batch_size" in config:
        settings.append(f"batches of {config['batch_size'] * config.get('accumulate', 1)}")
    if "lr" in optim:
        settings.append(f"learning rate {optim['lr']:g}")
    if "weight_decay" in optim:
        settings.append(f"weight decay {optim['weight_decay']:g}")
    return f"{facts.recipe.purposes.get(name, name)} ({', '.join(settings)})"


def _adaptation(manifest: Mapping[str, Any]) -> list[str]:
    found = []
    if manifest.get("adapt_trials"):
        count = counted(len(manifest["adapt_trials"]), "window")
        found.append(
            f"The domain adaptation [@saito2020dance] read {count} of the test participants "
            "without their texts; these windows were not scored (transductive)."
        )
    fitted = manifest.get("adapted")
    if fitted:
        found.append(
            f"The model was fitted to participant {fitted['subject']} on the labelled windows of "
            f"{counted(len(fitted['runs']), 'run')}, which were not scored."
        )
    return found


def _sampling(evaluation: Evaluation) -> list[str]:
    options = evaluation.facts.get("sampling")
    if not options:
        return []
    how = {
        "greedy": "greedily",
        "beam": f"by beam search with {options['beams']} beams",
        "sample": f"by sampling at temperature {options['temperature']:g}, seed {options['seed']}",
    }[options["method"]]
    if options["method"] == "sample" and options["top_p"] < 1:
        how += f", from the nucleus of {options['top_p']:g} [@holtzman2020nucleus]"
    if options["repetition_penalty"] != 1:
        how += f", with repetition penalty {options['repetition_penalty']:g}"
    limit = counted(options["max_new_tokens"], "token")
    return [f"Texts were generated {how}, with at most {limit}."]


def _software(facts: RunFacts, glass_brain: bool) -> list[str]:
    cited = {"torch": "PyTorch", "transformers": "Transformers"}
    keys = {"torch": "paszke2019pytorch", "transformers": "wolf2020transformers"}
    now = {k: v for k, v in facts.versions.items() if k != "machine" and v != "not installed"}
    names = [
        f"{cited.get(k, k)} {v}" + (f" [@{keys[k]}]" if k in keys else "") for k, v in now.items()
    ]
    found = [f"The evaluation used {_words(names, 'and')}."] if names else []
    if facts.device:
        found.append(f"It ran on {facts.device}.")
    other = [
        f"{cited.get(k, k)} {v}"
        for k, v in facts.trained_with.items()
        if v != "not installed" and now.get(k, v) != v
    ]
    if other:
        found.append(f"Training used {_words(other, 'and')}.")
    if glass_brain:
        found.append("The brain map was drawn with nilearn [@abraham2014nilearn].")
    return found


def _words(items: Iterable[str], last: str) -> str:
    *first, end = items
    return f"{', '.join(first)} {last} {end}" if first else end

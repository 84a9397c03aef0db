"""Write the forms, the key and the facts of a preference test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ..._arguments import checked
from ..._digests import write_sealed
from ..._environment import check_environment
from ..._io import folder_atomic, sha256, write_atomic
from ..._runfiles import read_manifest, read_record
from ...errors import InputError, OutputExistsError
from ..records import read_samples
from ..run_store import open_store, scored_trials
from .form import QUESTION, form_digest, render_form, shown_items
from .pairs import Item, Pair, lay_out, study_pairs

STUDY_FORMAT = "fastbrain human study 1"
_APPROVAL = (
    "A study with people needs the approval, information and consent that your institution "
    "requires. Obtain them before you send a form to anyone."
)


@checked(least={"raters": 1, "pairs": 1, "pairs_per_form": 1})
def check_human_study(
    out: str | Path, *, raters: int = 3, pairs: int = 50, pairs_per_form: int | None = None
) -> None:
    """Raise unless a study can be written to `out`; call it before long work.

    Parameters
    ----------
    out, raters, pairs, pairs_per_form
        See :func:`write_human_study`.

    Raises
    ------
    OutputExistsError
        `out` exists.
    DiskError
        No folder can be created there.
    """
    if Path(out).exists():
        raise OutputExistsError(
            f"write_human_study: {out} must not exist: raters may have its forms. Choose another "
            "folder."
        )
    check_environment(Path(out).parent, function="write_human_study")


@checked(least={"raters": 1, "pairs": 1, "pairs_per_form": 1})
def write_human_study(
    run: str | Path,
    out: str | Path,
    *,
    store: str | Path | None = None,
    raters: int = 3,
    pairs: int = 50,
    pairs_per_form: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a blinded preference test of the texts of an evaluated run.

    Raters see the true text and two decoded texts, one from the true brain and one from the brain
    of the first derangement, and choose the one that is closer in meaning. The folder has one form
    (HTML without external resources) for each rater, ``instructions.md``, ``study.json`` and
    ``key/key.json``, which says where the text of the true brain is. It is complete or does not
    exist.

    Parameters
    ----------
    run : str or Path
        Run folder of LLM4Brain or BrainLLM after ``evaluate``; nothing is decoded.
    out : str or Path
        Folder to create.
    store : str or Path, optional
        Current path of the store; it has the questions and prompts of the trials.
    raters : int
        Number of forms.
    pairs : int
        Largest number of pairs in the study, drawn at random. Pairs of equal texts, and repetitions
        of a pair, are left out and counted.
    pairs_per_form : int, optional
        Number of pairs on a form. Default: all of the study, in another order on each form.
        Otherwise each pair is on about the same number of forms.
    seed : int
        The same run and seed give the same files.

    Returns
    -------
    dict
        Content of ``study.json``.

    Raises
    ------
    InputError
        The run is not evaluated, all texts are equal, or there are too few forms for the pairs.
    CheckpointError
        The run is not finished, is of another kind, its store was not found or has changed, or
        ``metrics.json`` is missing or damaged.
    OutputExistsError
        `out` exists.
    """
    function = "write_human_study"
    check_human_study(out, raters=raters, pairs=pairs, pairs_per_form=pairs_per_form)
    manifest = read_manifest(run, function=function)
    columns = read_samples(Path(run) / "samples.parquet")
    if "deranged" not in columns:
        raise InputError(
            f"{function}: {run} must be evaluated with texts of deranged brains, got none. Run "
            "fastbrain evaluate again."
        )
    data = open_store(run, manifest, store, function=function)
    known = set(scored_trials(manifest, data, function=function))
    if others := sorted(set(columns["trial_id"]) - known):
        raise InputError(
            f"{function}: samples.parquet of {run} must hold scored trials of the run, got "
            f"{others[:3]}. Run fastbrain evaluate again."
        )
    contexts = {
        trial: (data.by_id[trial].instruction, data.by_id[trial].prompt)
        for trial in columns["trial_id"]
    }
    # A rater may know seed, numbers and program, but not the digest of the samples: without the
    # run, positions cannot be computed again.
    source = sha256(Path(run) / "samples.parquet")
    secret = hashlib.sha256(f"{seed} {source}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(secret, dtype=np.uint32))
    chosen, left_out = study_pairs(columns, contexts, most=pairs, rng=rng)
    forms = lay_out(len(chosen), forms=raters, per_form=pairs_per_form or len(chosen), rng=rng)
    facts = {
        "run": Path(run).resolve().name,
        "system": manifest.get("kind", "llm4brain"),
        "seed": seed,
        "windows": len(columns["trial_id"]),
        "left_out": left_out,
        "evaluation": _evaluation_facts(Path(run)),
    }
    with folder_atomic(out, function="write_human_study") as folder:
        return _write(folder, chosen, forms, facts, {"samples_sha256": source})


def _write(
    folder: Path,
    pairs: Sequence[Pair],
    forms: Sequence[Sequence[Item]],
    facts: Mapping[str, Any],
    origin: Mapping[str, str],
) -> dict[str, Any]:
    about, key = {}, {}
    width = max(2, len(str(len(forms))))
    for number, items in enumerate(forms, start=1):
        name = f"form-{number:0{width}d}"
        shown = shown_items(pairs, items)
        path = write_atomic(folder / f"{name}.html", render_form(name, shown))
        digest = form_digest(name, shown)
        about[name] = {"sha256": sha256(path), "digest": digest, "pairs": len(items)}
        key[name] = {"digest": digest, "items": [asdict(item) for item in items]}
    sealed = {
        "format": STUDY_FORMAT,
        **origin,
        "pairs": [asdict(pair) for pair in pairs],
        "forms": key,
    }
    path = write_sealed(folder / "key" / "key.json", sealed)
    study = {
        "format": STUDY_FORMAT,
        "fastbrain": __version__,
        "question": QUESTION,
        **facts,
        "pairs": len(pairs),
        "forms": about,
        "key_sha256": sha256(path),
        "approval": _APPROVAL,
    }
    write_sealed(folder / "study.json", study)
    write_atomic(folder / "instructions.md", _instructions(study))
    return study


def _evaluation_facts(run: Path) -> dict[str, Any]:
    """Settings of the evaluation that the texts are from."""
    metrics = read_record(run / "metrics.json", {}, function="write_human_study")
    names = ("n_derangements", "sampling", "partners_exclude", "partners")
    return {name: metrics[name] for name in names if name in metrics}


def _instructions(study: Mapping[str, Any]) -> str:
    forms = list(study["forms"])
    sizes = sorted({form["pairs"] for form in study["forms"].values()})
    left_out = ", ".join(f"{count} {reason}" for reason, count in study["left_out"].items())
    return f"""# Preference test of decoded texts

{_APPROVAL}

{study["pairs"]} pairs of texts from {study["windows"]} windows (left out: {left_out}), on
{len(forms)} forms of {" or ".join(map(str, sizes))} pairs.

1. Give each rater one form and nothing else of this folder: `{forms[0]}.html` to the first, and so
   on. A form is one file. It works without a network in any current browser, also on a phone, and
   sends nothing.
2. Keep `key/` from raters, and from anyone who talks to them, until all answers are in. It says
   which text is from the true brain.
3. A rater answers "{QUESTION}" for each pair with 1, 2 or 0 (no preference). The browser keeps the
   answers; "Save answers" writes `{forms[0]}-answers.json`, which the rater sends to you. The file
   holds the name of the form and the answers, no names and no times.
4. Let raters work alone. Do not use one form for two raters, and do not use the answers of people
   who know the texts of the run.
5. Read the answers: `fastbrain human-study STUDY ANSWERS`, with this folder and all files of
   answers.

Decide on the numbers of raters and pairs before you see answers. The texts are shown as they were
decoded: read them first if raters should not see everything that a language model may write.
"""

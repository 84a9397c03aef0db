"""Open the sentence decoder that an evaluation fitted and kept in its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._rules import anything, table_of
from .._runfiles import model_folder, read_manifest, read_record
from ..data import VoxelStore
from ..data.readers.events import Trial
from ..decoding import SentenceDecoder, load_sentence_decoder
from ..decoding.brain_decoder import BrainDecoder
from ..decoding.sentences.loading import read_sentence_decoder
from ..decoding.sentences.saving import READOUT, fit_digest
from ..errors import CheckpointError
from ..evaluation.metrics.bertscore import default_bert
from ..evaluation.report.other_decoder import FOLDER, SAVED
from ..llm4brain.joint_run import training_folder
from ..lm.kept_llm import LLMRecord, llm_place
from ..lm.loading import load_llm
from .open_decoder import RunDecoder


def kept_decoder(run: Path, name: str, *, function: str) -> Path:
    """Return the folder of the decoder that ``evaluate --decoder NAME`` kept in a run.

    Raises
    ------
    CheckpointError
        There is none.
    """
    folder = run / FOLDER / name / SAVED
    if not folder.is_dir():
        raise CheckpointError(
            f"{function}: {run} must hold a decoder '{name}', got none. Fit it: fastbrain evaluate "
            f"{run} --decoder {name} --llm MODEL"
        )
    return folder


def saved_decoder(path: Path) -> Path | None:
    """Return the folder of a sentence decoder: `path`, or ``model`` in it; None for others."""
    return next((p for p in (path, path / SAVED) if (p / READOUT).is_file()), None)


def run_around(folder: Path, *, function: str) -> Path:
    """Return the run that a sentence decoder is kept in.

    Raises
    ------
    CheckpointError
        It is not in a run.
    """
    for run in folder.resolve().parents:
        if (run / "manifest.json").is_file():
            return run
    raise CheckpointError(
        f"{function}: {folder} must be in the folder of its run, got a saved decoder alone, which "
        "does not say how scans are prepared. Name the one in the run, or compute its features and "
        "use fastbrain.decoding.load_sentence_decoder."
    )


@checked
def open_kept_decoder(
    run: Path,
    folder: Path,
    *,
    like: VoxelStore,
    llm: str | None = None,
    encoder: str | None = None,
    device: str = "cpu",
    seed: int | None = None,
) -> RunDecoder:
    """Open a sentence decoder with the components that it was fitted on.

    Parameters
    ----------
    run : Path
        Run folder of one grid.
    folder : Path
        Of the saved decoder.
    like : VoxelStore
        Preparation of the run.
    llm, encoder : str, optional
        Folders or names. Default: those recorded on saving; else the language model of the run and
        the packaged encoder.
    device : str
    seed : int, optional
        Of what is written. Default: that of the fit.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, a model is not that of the fit, the decoder was saved without
        its components, or the results beside it are of another fit.
    """
    manifest = read_manifest(run, function="decode")
    saved = read_sentence_decoder(folder)
    _check_evaluated(run, folder)
    named = llm or saved["llm"]["name"]
    decoder = load_sentence_decoder(
        folder,
        llm=_language_of(run, manifest, device) if named is None else named,
        encoder=encoder or saved["encoder"]["name"] or default_bert()[0],
        device=device,
    )
    if seed is not None:
        decoder = replace(decoder, writing=replace(decoder.writing, seed=seed))
    components = decoder.components
    if components is None:
        raise CheckpointError(
            f"decode: {folder} must hold the components of its features, got a decoder without "
            "them. Compute its features and use fastbrain.decoding.load_sentence_decoder."
        )

    def bind(given: VoxelStore, ids: Sequence[str]) -> tuple[BrainDecoder, Any]:
        return decoder, components.features(given, ids)

    return RunDecoder(run, manifest, like, bind, _no_prompts, _facts(folder, decoder))


def _check_evaluated(run: Path, folder: Path) -> None:
    """Raise if an interrupted evaluation left a decoder beside the results of an earlier one."""
    place = folder.parent / "metrics.json"
    if folder.name != SAVED or not place.is_file():
        return
    rules = {"decoder": table_of(anything)}
    record = read_record(place, {}, optional=rules, function="decode")
    said, found = record.get("decoder", {}).get("fit"), fit_digest(folder)
    if said not in (None, found):
        name = folder.parent.name
        raise CheckpointError(
            f"decode: {place} must be of the decoder beside it ({found}), got that of another fit "
            f"({said}): an evaluation was interrupted. Evaluate again: fastbrain evaluate {run} "
            f"--decoder {name}, with the options of that evaluation."
        )


def _no_prompts(trials: Sequence[Trial]) -> list[str]:
    return [""] * len(trials)


def _facts(folder: Path, decoder: SentenceDecoder) -> dict[str, Any]:
    readout = decoder.readout
    return {
        "decoder": {
            "folder": str(folder),
            "fitted_on": f"{len(readout.texts)} windows of {len(set(readout.groups))} runs",
            "two_way": readout.two_way,
            "weight": decoder.evidence.weight,
            "seed": decoder.writing.seed,
        }
    }


@checked
def _language_of(run: Path, manifest: dict[str, Any], device: str) -> tuple[Any, Any]:
    """Load the language model of a run as its training did."""
    home = training_folder(run, manifest)
    found = manifest.get("language_model")
    place = llm_place(None if found is None else LLMRecord(**found), manifest["llm"], home)
    config = read_record(
        model_folder(home) / "config.json", {"card": table_of(anything)}, function="decode"
    )
    card = config["card"]
    return load_llm(
        place, device=device, bits=card.get("llm_bits"), device_map=card.get("llm_device_map")
    )

"""Upload a run of the fMRI language model to the hub: verified files and a model card only."""

from __future__ import annotations

import json
from pathlib import Path

from .._arguments import checked
from .._io import read_json
from .._run_kind import require_kind
from .._runfiles import read_record
from ..nn.hub import check_upload, scores_for_card, upload
from ..nn.saved_folder import SEAL, check_seal, read_whole
from .asking import saved_words
from .model_card import CONFIG, card_text, shared_config
from .run_records import ANSWERS, KIND
from .saving import FILES

_BESIDE = ("coding.json", "split.json", "vq/config.json")


@checked
def push_vqlm(
    run: str | Path,
    name: str,
    *,
    metrics: str | Path | None = None,
    license: str | None = None,
    private: bool = True,
    token: str | None = None,
) -> str:
    """Upload a vq-lm run: autoencoder with codebook, language model with tokenizer, and card.

    Every file is first compared with its digest. The uploaded folder is a run that ``fastbrain
    decode`` reads; the paths of this machine are left out of it.

    Parameters
    ----------
    run : str or Path
    name, metrics, license, private, token
        As in :func:`fastbrain.push_to_hub`.

    Returns
    -------
    str
        URL of the commit.

    Raises
    ------
    CheckpointError
        The run is of another system, not finished, or damaged.
    MissingPartError
        huggingface_hub is not installed.
    InputError
        `metrics` is not a ``metrics.json`` of fastbrain, `name` has no owner, or the hub cannot be
        reached or rejects the model.
    """
    check_upload(name)
    run = Path(run)
    require_kind(run, KIND, function="push_to_hub", instead="Use the function of that system.")
    config = read_record(run / "config.json", CONFIG, function="push_to_hub")["config"]
    files: dict[str, Path | str] = {}
    words = saved_words(run, config)
    if words is not None:
        files |= _sealed(run, "words")
    if words is not None and words.source == "connectomes":
        files["split.json"] = run / "split.json"
    else:
        read_whole(run / "coder", FILES, function="push_to_hub")
        files |= {f"coder/{file}": run / "coder" / file for file in (*FILES, "manifest.json")}
        files |= {file: run / file for file in _BESIDE}
    check_seal(run / "llm")
    config = shared_config(config)
    files |= _sealed(run, "llm")
    if (run / ANSWERS).is_file():
        files[ANSWERS] = run / ANSWERS
    files["config.json"] = json.dumps({"config": config}, indent=2) + "\n"
    files["manifest.json"] = _manifest(run)
    card = card_text(run, scores=scores_for_card(metrics), license=license)
    return upload(name, files, card, private=private, token=token)


def _sealed(run: Path, folder: str) -> dict[str, Path | str]:
    """Files of a sealed folder of a run, by their place in the run."""
    sealed = read_record(run / folder / SEAL, {}, function="push_to_hub")
    return {f"{folder}/{file}": run / folder / file for file in (*sealed, SEAL)}


def _manifest(run: Path) -> str:
    """Return the manifest without the place of the study on this machine."""
    path = run / "manifest.json"
    facts = read_json(path) if path.is_file() else {"study_fingerprint": ""}
    return json.dumps({**facts, "kind": KIND, "study": None, "study_beside": None}, indent=2) + "\n"

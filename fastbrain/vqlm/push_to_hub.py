"""Upload a run of the fMRI language model to the hub: verified files and a model card only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._io import read_json
from .._rules import list_of, none_or, number, record_of, text
from .._run_kind import require_kind
from .._runfiles import read_record
from ..nn.card_parts import card_table, front_matter, scores_table
from ..nn.hub import check_upload, scores_for_card, upload
from ..nn.saved_folder import SEAL, check_seal, read_whole
from .asking import saved_words
from .run_records import ANSWERS, KIND, PARTS, read_people
from .saving import FILES

_CONFIG = {"config": record_of({"question": text, "kind": text, "llm": none_or(text)})}
_CODER = {"regions": list_of(text), "tr": number}
_BESIDE = ("coding.json", "split.json", "vq/config.json")
_LIMITS = """\
- For research on recordings of people who agreed to this use. Not a medical device; not for any
  decision about a person.
- A predicted value is worth what its row in the scores says beside the mean and connectivity ridge.
- Series must be of the same regions, in their order, with the repetition time of training.
- Codebook, weights and language model are derived from the people it was trained on, and the split
  names them: share it as you would share the recordings. The language model contains the weights of
  the one it started from, and that license holds.
"""


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
    config = read_record(run / "config.json", _CONFIG, function="push_to_hub")["config"]
    files: dict[str, Path | str] = {}
    words = saved_words(run, config)
    if words is not None:
        files |= _sealed(run, "words")
    if words is not None and words.source == "connectomes":
        reads = {"connectomes": f"{len(words.regions)} regions"}
        files["split.json"] = run / "split.json"
    else:
        read_whole(run / "coder", FILES, function="push_to_hub")
        coder = read_record(run / "coder" / "config.json", _CODER, function="push_to_hub")
        reads = {"regions": str(len(coder["regions"])), "TR": f"{coder['tr']:g} s"}
        files |= {f"coder/{file}": run / "coder" / file for file in (*FILES, "manifest.json")}
        files |= {file: run / file for file in _BESIDE}
    check_seal(run / "llm")
    target, split = read_people(run, function="push_to_hub")
    llm = config["llm"]
    if llm is not None and (Path(llm).is_absolute() or Path(llm).is_dir()):
        shown = f"{Path(llm).name}, a local folder"
        llm = None
    else:
        shown = llm or "a small one, trained with the run"
    config = {**config, "llm": llm}
    files |= _sealed(run, "llm")
    if (run / ANSWERS).is_file():
        files[ANSWERS] = run / ANSWERS
    files["config.json"] = json.dumps({"config": config}, indent=2) + "\n"
    files["manifest.json"] = _manifest(run)
    rows = {
        "predicts": f"{target}: “{config['question']}”",
        **reads,
        "language model": f"{shown}, tuned; contained, with the codes in its vocabulary",
        "people": ", ".join(f"{len(split[part])} {part}" for part in PARTS),
    }
    card = _card(rows, scores_for_card(metrics), config, license)
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


def _card(
    rows: Mapping[str, str],
    scores: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    license: str | None,
) -> str:
    parts = [
        front_matter(config["llm"], license, KIND),
        "# fMRI language model\n",
        "Reads codes of resting-state fMRI and says a value of the person (made with fastbrain).\n",
        "## Use\n",
        "Download the files to a folder RUN; `fastbrain decode` with this folder and `--study` "
        "predicts the value of new people.\n",
        "## What it reads and learned from\n",
        card_table(rows),
        "## Scores\n",
        scores_table(scores),
        "## Limits\n",
        _LIMITS,
        "## Whole configuration\n",
        f"```json\n{json.dumps(config, indent=2)}\n```\n",
    ]
    return "\n".join(parts)

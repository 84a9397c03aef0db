"""Load a sentence decoder with the language model and the encoder that it was fitted with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._rules import (
    anything,
    count,
    exact_record_of,
    flag,
    list_of,
    none_or,
    number,
    record_of,
    text,
)
from ..._runfiles import read_record
from ...data.features.saved_pca import RULES, read_pca
from ...data.features.window_components import WindowComponents
from ...errors import CheckpointError
from ...lm.loading import load_llm
from ...lm.sentence_embeddings import SentenceEncoder
from ...nn.config_io import from_dict
from ...nn.saved_folder import load_tensors, read_whole
from ...stats.ridge import Ridge
from .decoder import SentenceDecoder
from .evidence import SentenceEvidence
from .line_writer import LineWriter
from .options import SentenceWriting
from .readout import SentenceReadout
from .saving import FEATURES, FILES, KIND, LAYOUT, READOUT
from .written import check_kept

# a language model may write any character, a zero byte too
_TEXTS = list_of(lambda value: isinstance(value, str))
_MODEL = exact_record_of({"name": none_or(text), "digest": text})
_READOUT = {"texts": _TEXTS, "groups": _TEXTS, "penalty": number, "r2": number, "two_way": number}
_EVIDENCE = {"weight": number, "gain": number, "effective": number, "texts": _TEXTS}
_RULES = {
    "llm": _MODEL,
    "encoder": _MODEL,
    "prompt": list_of(count, least=1),
    "writing": anything,  # the class checks it
    "readout": exact_record_of(_READOUT),
    "evidence": exact_record_of(_EVIDENCE),
    "features": none_or(record_of({**RULES, "whiten": flag})),
}
_KEYS = {"layout", "kind", *_RULES}


@checked
def load_sentence_decoder(
    folder: str | Path,
    *,
    llm: tuple[Any, Any] | str | None = None,
    encoder: SentenceEncoder | str | None = None,
    kept: str | Path | None = None,
    device: str = "cpu",
) -> SentenceDecoder:
    """Load a decoder written by :meth:`SentenceDecoder.save`.

    Parameters
    ----------
    folder : str or Path
    llm : (model, tokenizer) or str, optional
        The loaded language model, or its name or folder. Default: the one that was named on saving.
    encoder : SentenceEncoder or str, optional
        Default: the one that was named on saving.
    kept : str or Path, optional
        Folder for written sentences; see :class:`SentenceDecoder`.
    device : str
        Of a language model that is loaded here.

    Returns
    -------
    SentenceDecoder
        Its ``readout.ridge`` has no predictions out of fold; those of the read-out are kept.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, language model or encoder is not the one of the fit, or one is
        neither given nor named.
    InputError
        The language model or the encoder cannot be found or read.
    DiskError
        `kept` is not a folder that can be written.
    """
    root = Path(folder)
    check_kept(kept, function="load_sentence_decoder")
    config = read_sentence_decoder(root)
    names = {"llm": llm, "encoder": encoder}
    for name, given in names.items():
        if given is None and config[name]["name"] is None:
            raise CheckpointError(
                f"load_sentence_decoder: {name} must be given for {root}, which does not name it, "
                "got none. Pass the one that the decoder was fitted with."
            )
    arrays = _arrays(root, config)
    if not isinstance(encoder, SentenceEncoder):
        encoder = SentenceEncoder(encoder or config["encoder"]["name"])
    _same("encoder", config["encoder"], encoder.digest(), encoder.name)
    if llm is None or isinstance(llm, str):
        llm = load_llm(llm or config["llm"]["name"], device=device)
    writer = LineWriter(*llm)
    _same("llm", config["llm"], writer.digest(), getattr(writer.llm, "name_or_path", ""))
    fitted, weight = config["readout"], config["evidence"]
    ridge = Ridge(
        arrays["x_mean"],
        arrays["y_mean"],
        arrays["weights"],
        penalty=fitted["penalty"],
        r2=fitted["r2"],
        out_of_fold=None,
    )
    readout = SentenceReadout(
        ridge,
        encoder,
        arrays["centre"],
        tuple(fitted["texts"]),
        arrays["vectors"],
        arrays["out_of_fold"],
        fitted["two_way"],
        tuple(fitted["groups"]),
    )
    evidence = SentenceEvidence(
        weight["weight"], arrays["written"], weight["gain"], weight["effective"],
        tuple(weight["texts"]),
    )  # fmt: skip
    writing = from_dict(SentenceWriting, config["writing"], where="writing")
    components = _components(root, config["features"])
    prompt = tuple(config["prompt"])
    return SentenceDecoder(readout, writer, evidence, prompt, writing, kept, components)


def read_sentence_decoder(root: Path) -> dict[str, Any]:
    """Verify a saved decoder and return its ``config.json``.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, or the folder is of another model or layout.
    """
    function = "load_sentence_decoder"
    config = read_whole(root, FILES, function=function)
    if not isinstance(config, dict) or config.get("kind") != KIND:
        raise CheckpointError(f"{function}: {root} must hold a {KIND}, got another model.")
    if config.get("layout") != LAYOUT or set(config) != _KEYS:
        raise CheckpointError(
            f"{function}: {root} must have layout {LAYOUT}, got {config.get('layout')!r:.20}. Read "
            "it with the version that wrote it, or fit it again."
        )
    return read_record(root / "config.json", _RULES, function=function)


def _same(name: str, saved: Mapping[str, Any], found: str, called: str) -> None:
    if found != saved["digest"]:
        own = "" if saved["name"] is None else f"'{saved['name']}', "
        raise CheckpointError(
            f"load_sentence_decoder: {name} must be the model of the fit ({own}{saved['digest']}), "
            f"got '{called}' ({found}). Under another one, embeddings and likelihoods mean "
            "something else."
        )


def _arrays(root: Path, config: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float64]]:
    tensors = load_tensors(root / READOUT, function="load_sentence_decoder")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    texts, written = len(config["readout"]["texts"]), len(config["evidence"]["texts"])
    size = {n: a.shape for n, a in arrays.items() if a.dtype == np.float64}
    inputs, width = (*size.get("weights", ()), 0, 0)[:2]
    layers = (*size.get("centre", ()), 0)[0]
    wanted = {
        "x_mean": (inputs,),
        "y_mean": (width,),
        "weights": (inputs, width),
        "centre": (layers, width // max(layers, 1)),
        "vectors": (texts, width),
        "out_of_fold": (texts, width),
        "written": (written or (*size.get("written", ()), 0)[0], width),
    }
    if size != wanted or set(arrays) != set(wanted) or layers * wanted["centre"][1] != width:
        raise CheckpointError(
            f"load_sentence_decoder: the arrays of {root} must agree in their sizes, got {size}."
        )
    return arrays


def _components(root: Path, record: Mapping[str, Any] | None) -> WindowComponents | None:
    if record is None:
        return None
    function = "load_sentence_decoder"
    tensors = load_tensors(root / FEATURES, function=function)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    pca, region = read_pca(record, arrays, where=str(root), function=function)
    return WindowComponents(pca, region, record["whiten"])

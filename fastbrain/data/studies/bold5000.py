"""BOLD5000 (Chang et al., Scientific Data 2019; OpenNeuro ds001499).

Four people saw 5,254 photographs of COCO, ImageNet and the scenes of SUN, 1 s each, every 10 s.
COCO photographs have five captions each. The labels of the images are not part of the BIDS tree:
``captions.json`` (file name to captions), ``imagenet_labels.txt`` ("n01440764 tench, Tinca
tinca") and ``scene_labels.txt`` are searched for in the root and in the given folders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ..._io import read_json
from ...errors import CohortError
from ..readers.inside import inside
from ..readers.tables import read_lines
from ..readers.trial_windows import WindowSpec
from ..readers.unfetched import refuse_unfetched
from .known import KnownDataset, Label, Row

_COLLECTIONS = ("coco", "imagenet", "scenes")
_FILES = {
    "coco": "captions.json",
    "imagenet": "imagenet_labels.txt",
    "scenes": "scene_labels.txt",
}


def with_article(name: str) -> str:
    """Add an article by the first letter of the name: "a tench", "an arcade"."""
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """Read captions by file name from a JSON object of lists; whitespace is normalised.

    Raises
    ------
    CohortError
        The file is damaged, or an entry is not a list with at least one sentence.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise CohortError(f"captions: {path} must hold an object of lists of sentences.")
    captions = {}
    for name, texts in value.items():
        given = texts if isinstance(texts, list) else []
        sentences = tuple(" ".join(t.split()) for t in given if isinstance(t, str) and t.strip())
        if not sentences or len(sentences) != len(given):
            raise CohortError(f"captions: {path} must have sentences for {name}, got {texts!r:.80}")
        captions[name] = sentences
    return captions


def _labeller(folders: Sequence[Path]) -> Callable[[Row], Label]:
    found = {kind: _find(folders, name) for kind, name in _FILES.items()}
    captions = read_captions(found["coco"]) if found["coco"] else {}
    nouns = _nouns(found["imagenet"]) if found["imagenet"] else {}
    scenes = _lines(found["scenes"]) if found["scenes"] else []
    # "garbagedump3.jpg": the longest known scene that the file name starts with
    scenes.sort(key=len, reverse=True)

    def label(row: Row) -> Label:
        image, kind = row.get("ImgName", ""), row.get("ImgType", "").removeprefix("rep_")
        if kind not in _COLLECTIONS or not image:
            raise CohortError(
                f"BOLD5000: a row must have ImgName and ImgType, one of {_COLLECTIONS}, got "
                f"'{image}' and '{row.get('ImgType', '')}'. Is it ds001499?"
            )
        known: tuple[str, ...] = ()
        name = ""
        if kind == "coco":
            known = captions.get(image, ())
        elif kind == "imagenet":
            name = nouns.get(image.partition("_")[0], "")
        else:
            name = next((s for s in scenes if image.startswith(s)), "")
        if not known and not name:
            folder = ", ".join(str(f) for f in folders)
            raise CohortError(
                f"BOLD5000: {image} must be explained by {_FILES[kind]} in {folder}, got nothing. "
                "COCO captions come with COCO (annotations), class names with the stimuli on "
                "bold5000.org; or choose collections that have them."
            )
        spoken = with_article(_words(name)) if name else ""
        return Label(stimulus=image, category=kind, name=spoken, captions=known)

    return label


def _find(folders: Sequence[Path], name: str) -> Path | None:
    for folder in folders:
        path = folder / name
        refuse_unfetched(path)
        if path.is_file():
            remedy = "Name the folder that holds the file in explained_by (--explained-by)."
            return inside(folder, name, what=f"BOLD5000: {path}", remedy=remedy)
    return None


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_lines(path) if line.strip()]


def _nouns(path: Path) -> dict[str, str]:
    """Map each ImageNet identifier to the first of its names."""
    nouns = {}
    for line in _lines(path):
        identifier, _, names = line.partition(" ")
        nouns[identifier] = names.split(",")[0].strip()
    return nouns


def _words(name: str) -> str:
    """Split "labClass" and "van_interior" into words; "garbagedump" stays one word."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")


BOLD5000 = KnownDataset(
    name="bold5000",
    title="BOLD5000",
    accession="ds001499",
    task="5000scenes",
    tr=2.0,
    n_volumes=194,
    # the authors average the third and the fourth volume after onset
    window=WindowSpec(delay_s=4.0, window_trs=2),
    templates=("A photo of {}.", "The picture shows {}.", "This is {}."),
    instructions=(
        "What does the picture show?",
        "Describe the photo.",
        "What does the person see?",
    ),
    labeller=_labeller,
    note="photographs repeat across sessions, and two share each ImageNet class",
)

"""Options that select images of a BIDS folder, shared by several commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import CohortError

_IMAGES = (".nii", ".nii.gz", ".img", ".hdr", ".gii", ".mgz", ".npy", ".h5", ".hdf5", ".dcm")


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Selection of the image of a run; "none" selects a name without the entity."""

    space: str | None = None
    """BIDS space of the images."""
    acq: str | None = None
    """BIDS acquisition."""
    ce: str | None = None
    """BIDS contrast agent."""
    rec: str | None = None
    """BIDS reconstruction."""
    dir: str | None = None
    """BIDS phase-encoding direction, e.g. AP."""
    echo: str | None = None
    """BIDS echo of multi-echo recordings."""
    part: str | None = None
    """BIDS part, e.g. mag."""
    chunk: str | None = None
    """BIDS chunk."""
    res: str | None = None
    """BIDS resolution."""
    den: str | None = None
    """BIDS density."""
    desc: str | None = None
    """BIDS description of preprocessed images, e.g. preproc."""
    allow_outside: bool = False
    """Whether files that a table or a BIDS folder names may lie outside its folder (links)."""

    def image_entities(self) -> dict[str, str | None]:
        """Return the entities except the space by name, None for those not given."""
        return {
            "acq": self.acq,
            "ce": self.ce,
            "rec": self.rec,
            "dir": self.dir,
            "echo": self.echo,
            "part": self.part,
            "chunk": self.chunk,
            "res": self.res,
            "den": self.den,
            "desc": self.desc,
        }


@dataclass(frozen=True, kw_only=True)
class DerivativeOptions:
    """Preprocessed images of a BIDS folder, and what to do where they are missing."""

    derivatives: str | None = None
    """Preprocessed images: folders in SOURCE/derivatives or paths, separated by commas, e.g.
    fmriprep,xcp_d; events are those of SOURCE."""
    missing: Literal["error", "drop"] = "error"
    """What to do with runs of a BIDS folder that have no image on disk: stop with an error, or list
    them and go on without them."""


def check_table(source: Path) -> None:
    """Raise for a source that does not exist, or is an image in place of the table of its runs."""
    if not source.exists():
        found, remedy = "no such file or folder", "Correct the path"
    elif source.name.lower().endswith(_IMAGES):
        found = "an image or array"
        remedy = "List it in a runs table, or decode it: fastbrain decode RUN --bold IMAGE"
    else:
        return
    raise CohortError(
        f"prepare: {source} must be a runs table, a BIDS folder or a study, got {found}. {remedy}."
    )

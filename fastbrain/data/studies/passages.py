"""Public data sets with one image for each sentence of short passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .known import PublicDataset


@dataclass(frozen=True)
class PassageDataset(PublicDataset):
    """A public data set of passages that is not on OpenNeuro.

    Parameters
    ----------
    name, title, accession, tr
        See :class:`PublicDataset`. `accession` is the address of the download; `tr` is the step
        between images, which have no clock.
    """

    @property
    def page(self) -> str:
        """Web page of the data set."""
        return self.accession

    def how_to_fetch(self, subjects: Sequence[str] = ()) -> str:
        """Say where the data are."""
        return f"{self.title}: download and unpack the file of each person from {self.page}"


PEREIRA = PassageDataset(
    name="pereira",
    title="Pereira et al. 2018",
    accession="https://evlab.mit.edu/sites/default/files/documents/index2.html",
    tr=1.0,
)

"""Subject table: a shift or an affine map of the brain tokens for each subject.

The tokenizer of the paper has no subject-specific parameters. Responses to one stimulus differ
between subjects in amplitude and offset; an entry models this with `dim` or 2·`dim` parameters, few
enough to be fitted to a new subject from one or two runs (:func:`.training.adapt`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import InputError, UnknownSubjectError
from .config import LLM4BrainConfig

_PREFIX = "sub-"  # BIDS; also prevents clashes of labels with attribute names


class SubjectTable(nn.Module):
    """Shift, and for ``"affine"`` also gain, of all tokens of a subject.

    Every entry starts as the identity, so a model with a new table computes the same as without it.

    Parameters
    ----------
    kind : {"embedding", "affine"}
        "embedding": token + shift; "affine": token · (1 + gain) + shift.
    people : sequence of str
        Subject labels without "sub-".
    dim : int
        Width of a token.
    unknown : {"refuse", "mean"}
        For a subject without an entry: raise an error, or use the mean of all entries.
    """

    def __init__(self, kind: str, people: Sequence[str], dim: int, *, unknown: str) -> None:
        super().__init__()
        self.kind, self.unknown = kind, unknown
        parts = ("shift", "gain") if kind == "affine" else ("shift",)
        self.entries = nn.ModuleDict(
            {
                part: nn.ParameterDict(
                    {_PREFIX + label: nn.Parameter(torch.zeros(dim)) for label in people}
                )
                for part in parts
            }
        )

    @property
    def people(self) -> tuple[str, ...]:
        """Labels of the subjects that have an entry."""
        return tuple(key.removeprefix(_PREFIX) for key in self._part("shift"))

    def _part(self, part: str) -> nn.ParameterDict:
        found = self.entries[part]
        assert isinstance(found, nn.ParameterDict)
        return found

    def forward(self, tokens: Tensor, subjects: Sequence[str] | None) -> Tensor:
        """Apply the entry of each subject to its tokens (B, T, dim).

        Raises
        ------
        InputError
            The number of subjects is not the number of windows.
        UnknownSubjectError
            A subject has no entry, and `unknown` is ``"refuse"``.
        """
        if subjects is None or len(subjects) != len(tokens):
            got = "none" if subjects is None else len(subjects)
            raise InputError(
                f"SubjectTable: subjects must name the subject of each of {len(tokens)} windows, "
                f"got {got}. A batch has them: model.prefix(batch.voxels, batch.subjects)."
            )
        shift = self._rows("shift", subjects)
        if "gain" not in self.entries:
            return tokens + shift
        return tokens * (1 + self._rows("gain", subjects)) + shift

    def _rows(self, part: str, subjects: Sequence[str]) -> Tensor:
        """Stack the entries of `subjects`, (B, 1, dim)."""
        known = self._part(part)
        absent = sorted({s for s in subjects if _PREFIX + s not in known})
        if absent and self.unknown == "refuse":
            raise UnknownSubjectError(
                f"SubjectTable: subjects must be among {list(self.people)}, got "
                f"{', '.join(absent)}. Fit an entry with `fastbrain adapt`, or take the mean of "
                'all with unknown_subject="mean".'
            )
        entries = {s: known[_PREFIX + s] for s in subjects if s not in absent}
        if absent:
            mean = torch.stack(list(known.values())).mean(dim=0)
            entries |= dict.fromkeys(absent, mean)
        return torch.stack([entries[s] for s in subjects])[:, None]

    def meet_unknown(self, unknown: str) -> None:
        """Set the behaviour for subjects without an entry: ``"refuse"`` or ``"mean"``."""
        if unknown not in ("refuse", "mean"):
            raise InputError(f"SubjectTable: unknown must be refuse or mean, got {unknown!r}.")
        self.unknown = unknown

    def add(self, label: str) -> None:
        """Add an entry for a new subject, initialised to the mean of all others."""
        for part in self.entries:
            known = self._part(part)
            fresh = torch.stack([p.detach() for p in known.values()]).mean(dim=0)
            known[_PREFIX + label] = nn.Parameter(fresh)

    def entry(self, label: str) -> list[nn.Parameter]:
        """Return the parameters of one subject."""
        return [self._part(part)[_PREFIX + label] for part in self.entries]


def subject_table(config: LLM4BrainConfig) -> SubjectTable | None:
    """Build the subject table of a configuration, or return None if it has none."""
    if config.subjects is None:
        return None
    return SubjectTable(
        config.subjects, config.people, config.encoder.dim, unknown=config.unknown_subject
    )

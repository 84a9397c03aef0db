"""Write the material for a paper into ``paper/`` of a run folder.

::

    figures/*.svg, *.pdf   figures of one or two columns, with text that can be edited
    methods.md             methods section with citations, captions of the figures
    references.bib         the works that it cites
    scores.tsv             all scores
    quality.tsv            one row for each run of the cohort
    design.tsv             share of the training design that the high-pass filter removes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._environment import check_file
from ..._io import write_atomic
from ...data import DriftFilter
from ...data.readers.tables import tsv_text
from ...errors import DiskError
from ..protocol import Evaluation
from ..scores import Score
from .citations import bibliography
from .figures import holds_a_head
from .html import ReportParts, brain_caption
from .methods import methods_text
from .print_style import Kind, saved
from .run_facts import RunFacts
from .table import TITLES

FOLDER = "paper"
TEXTS = ("methods.md", "references.bib", "scores.tsv", "quality.tsv", "design.tsv")
# file and caption by the name of a figure in the report
FIGURES = {
    "forest": (
        "controls",
        "Scores of decoded texts beside every control. Blue: the decoder, with its interval. Grey: "
        "the same score of the control, or of the ridge regression, named on the line; pairwise "
        "accuracy, which compares with the control already, is beside chance, 0.5, except on the "
        "line of the ridge regression.",
    ),
    "surprise": (
        "surprise",
        "Pairwise accuracy against deranged brains, in bins of equal size by how much the true "
        "text surprises the language model without a brain. Shaded: interval; dashed: chance.",
    ),
    "identification": (
        "identification",
        "True texts identified from the decoded text alone: share among the first k of all true "
        "texts. Shaded: interval; dashed: texts of deranged brains; dotted: random ranks.",
    ),
    "brain": ("brain", ""),
    "curves": (
        "training",
        "Losses of each training stage by epoch. Solid: training part; dashed: validation part.",
    ),
    "subjects": (
        "subjects",
        "Pairwise accuracy of every test participant against deranged brains, with its interval. "
        "Grey: chance.",
    ),
}
_KINDS: tuple[Kind, ...] = ("svg", "pdf")


def check_paper(run: str | Path, *, function: str) -> None:
    """Raise unless the files can be written; call it before the long work.

    Raises
    ------
    DiskError
        A file or folder is in the way.
    """
    folder = Path(run) / FOLDER
    for path in (folder, folder / "figures"):
        if path.exists() and not path.is_dir():
            raise DiskError(
                f"{function}: {path} must be a folder to write into, got a file. Remove it."
            )
    for path in _files(folder):
        if path.parent.is_dir():
            check_file(path, function=function)


def write_paper(
    run: str | Path,
    evaluation: Evaluation,
    parts: ReportParts,
    facts: RunFacts,
    figures: Mapping[str, Any],
) -> Path:
    """Write figures, methods, references and tables; files of an earlier evaluation are replaced.

    Parameters
    ----------
    run : str or Path
    evaluation : Evaluation
    parts : ReportParts
    facts : RunFacts
    figures : mapping
        From :func:`fastbrain.evaluation.report.html.drawn`.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(run) / FOLDER
    for name, (file, _) in FIGURES.items():
        for kind in _KINDS:
            path = folder / "figures" / f"{file}.{kind}"
            if figures[name] is None:
                path.unlink(missing_ok=True)  # of an earlier evaluation
            else:
                write_atomic(path, saved(figures[name], kind))
    glass = figures["brain"] is not None and parts.affine is not None and parts.grid is not None
    glass = glass and holds_a_head(parts.grid, parts.affine)  # type: ignore[arg-type]
    methods = methods_text(facts, evaluation, glass_brain=glass) + _captions(figures, parts)
    contents = (
        methods,
        bibliography(methods),
        _scores(evaluation.scores),
        _table(parts.quality),
        _design(facts.store.filter),
    )
    for name, text in zip(TEXTS, contents, strict=True):
        write_atomic(folder / name, text)
    return folder


def _captions(figures: Mapping[str, Any], parts: ReportParts) -> str:
    lines = [
        f"**{file}.** {caption or brain_caption(parts)}"
        for name, (file, caption) in FIGURES.items()
        if figures[name] is not None
    ]
    return "\n# Figures\n\n" + "\n\n".join(lines) + "\n" if lines else ""


def _files(folder: Path) -> list[Path]:
    figures = [
        folder / "figures" / f"{file}.{kind}" for file, _ in FIGURES.values() for kind in _KINDS
    ]
    return [*(folder / name for name in TEXTS), *figures]


def _scores(scores: Sequence[Score]) -> str:
    rows = []
    for score in scores:
        interval = score.interval
        rows.append(
            {
                "metric": score.metric,
                "name": TITLES.get(score.metric, score.metric),
                "mode": score.mode,
                "group": score.group,
                "n": score.n,
                "value": score.value,
                "low": None if interval is None else interval.low,
                "high": None if interval is None else interval.high,
                "level": None if interval is None else interval.level,
                "control": score.control,
                "control_value": score.chance,
                "p": score.p,
                "p_adjusted": score.adjusted,
                "effect_dz": score.effect,
                "signature": score.signature,
            }
        )
    return _table(rows)


def _design(drift: DriftFilter) -> str:
    rows = [("events of one kind", name, share) for name, share in drift.removed.items()]
    rows += [
        ("events of one kind, with confounds", name, share)
        for name, share in drift.with_confounds.items()
    ]
    if drift.stimuli["n"]:
        rows.append(("single stimuli", "median", drift.stimuli["median"]))
        rows.append(("single stimuli", f"worst: {drift.worst_stimulus}", drift.stimuli["worst"]))
    period = "line only" if drift.high_pass_s is None else f"{drift.high_pass_s:g}"
    return _table(
        [
            {"high_pass_s": period, "of": kind, "name": name, "removed_share": share}
            for kind, name, share in rows
        ]
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows as TSV; "n/a" for what is not known, as in BIDS. No rows: an empty text."""
    if not rows:
        return ""
    return tsv_text(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())

"""One page of HTML with the tables and pictures of some rows, readable without a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from .figures import figures
from .rows import FACTS, Row, is_timed, machine_of, newest, threads_in_words, timed_rows
from .tables import Duel, duels, extra_of, losses, verdict_of

_ENV = ("cpu", "gpu", "cores", "isa", "threads", "torch", "python", "fastbrain", "commit", "date")


def page(rows: Iterable[Row]) -> str:
    """Write the page: where fastbrain loses first, then pictures, tables and conditions.

    Parameters
    ----------
    rows : iterable of dict

    Returns
    -------
    str
        HTML.

    Raises
    ------
    InputError
        The rows hold no times.
    MissingPartError
        matplotlib is not installed.
    """
    rows = list(rows)
    timed_rows(rows, function="bench report")
    found = duels(rows)
    lost = losses(found)
    environment = Environment(
        loader=PackageLoader(__package__ or "fastbrain.bench", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        counts={
            verdict: sum(duel.verdict == verdict for duel in found)
            for verdict in ("faster", "draw", "slower")
        },
        cases=len(found),
        losses=[_loss(duel, row) for duel, row in lost],
        refused=_refused(rows),
        figures=[
            {"machine": f.machine, "title": f.title, "svg": Markup(_inline(f.svg))}
            for f in figures(rows)
        ],
        groups=_groups(found),
        timed=_every(rows),
        conditions=_conditions(rows),
    )


def _inline(svg: bytes) -> str:
    """The picture without the head of a file, so that it can be a part of a page."""
    text = svg.decode()
    return text[text.index("<svg") :]


def _ratio(row: Row) -> str:
    over = row["ratio_to_fastbrain"]
    return f"{over:.2f} ({row['ratio_low']:.2f}-{row['ratio_high']:.2f})"


def _loss(duel: Duel, row: Row) -> dict[str, str]:
    own = duel.beside(row)
    return {
        "machine": duel.machine,
        "op": duel.op,
        "case": duel.label,
        "rival": row["provider"],
        "ours": "" if own is None else f"{own['ms_p50']:.4g}",
        "theirs": f"{row['ms_p50']:.4g}",
        "ratio": _ratio(row),
        "verdict": verdict_of(row),
    }


def _refused(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Providers without a time, the newest reason of each, wrong ones first."""
    kept: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in rows:
        kind, _, op = row["op"].partition("_")
        if kind in ("failed", "dropped", "skipped") and "note" in row:
            where = machine_of(row), op, row.get("case", ""), row.get("provider", "")
            names = dict(zip(("machine", "op", "case", "provider"), where, strict=True))
            kept[where] = {**names, "kind": kind, "note": row["note"]}
    order = ("failed", "dropped", "skipped")
    return sorted(kept.values(), key=lambda row: order.index(row["kind"]))


def _groups(found: Sequence[Duel]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for duel in found:
        own, best = duel.own or {}, duel.best
        groups.setdefault((duel.machine, duel.op), []).append(
            {
                "case": duel.label,
                "ours": f"{own['ms_p50']:.4g}" if own else "",
                "kernel": f"{own['ms_kernel_p50']:.4g}" if "ms_kernel_p50" in own else "",
                "share": f"{own['roofline']:.0%}" if own.get("roofline") else "",
                "peak": f"{own['peak_mb']:.3g}" if own.get("peak_mb") is not None else "",
                "rival": best["provider"],
                "theirs": f"{best['ms_p50']:.4g}",
                "ratio": _ratio(best),
                "verdict": duel.verdict,
            }
        )
    return [{"machine": m, "op": op, "rows": rows} for (m, op), rows in groups.items()]


def _every(rows: Sequence[Row]) -> list[dict[str, str]]:
    return [
        {
            "machine": machine_of(row),
            "op": row["op"],
            "case": f"{row['case']} ({extra_of(row)})" if extra_of(row) else row["case"],
            "provider": row["provider"] + (" (ceiling)" if row.get("ceiling") else ""),
            "p20": f"{row['ms_p20']:.4g}",
            "p50": f"{row['ms_p50']:.4g}",
            "p80": f"{row['ms_p80']:.4g}",
            "ratio": "" if row.get("ratio_to_fastbrain") is None else _ratio(row),
            "error": f"{row['error']:.1e}" if row.get("error") is not None else "",
        }
        for row in newest(row for row in rows if is_timed(row))
    ]


def _conditions(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The environment of each machine, of its newest time, and its rooflines."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        machine = machine_of(row)
        facts = found.setdefault(machine, {"machine": machine, "best": {}, "env": {}})
        if row["op"] == "roofline":
            name = f"{row['case']}, {threads_in_words(row['env'].get('threads'))}"
            facts["best"][name] = f"{row['gbytes']:.1f} GB/s, {row['gflops']:.1f} GFLOP/s"
        if row["op"] not in FACTS:
            facts["env"] = {n: row["env"][n] for n in _ENV if row["env"].get(n) is not None}
    return list(found.values())

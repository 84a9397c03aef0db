"""Tables, pictures and the page of rows: what they say, and that nothing else is loaded."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from fastbrain import cli
from fastbrain.bench import figures, page, tables
from fastbrain.bench.rows import RowFile
from fastbrain.errors import InputError

pytest.importorskip("matplotlib", reason="pip install 'fastbrain-fmri[bench]'")


def row(provider, ms, case="a", op="vq_lookup", *, low=None, over=None, **other):
    over = over if over is not None else ms
    low = low if low is not None else over * 0.95
    env = {"cpu": "AMD EPYC", "threads": 2, "commit": "c", "date": "2026-11-29"}
    return {
        **{"op": op, "case": case, "provider": provider, "dtype": "float32", "env": env},
        **{"ms_p20": ms * 0.9, "ms_p50": ms, "ms_p80": ms * 1.1, "rounds": 9},
        **{"gflops": 50 / ms, "gbytes": 5 / ms, "roofline": 0.5 / ms},
        **{"ratio_to_fastbrain": over, "ratio_low": low, "ratio_high": over * 1.05, **other},
    }


@pytest.fixture
def rows():
    env = row("x", 1.0)["env"]
    return [
        {"op": "roofline", "case": "float32", "gbytes": 20.0, "gflops": 100.0, "env": env},
        {
            "op": "failed_vq_lookup",
            "case": "a",
            "provider": "<b>",
            "note": "wrong by 1",
            "env": env,
        },
        row("fastbrain", 1.0, over=1.0, ms_kernel_p50=0.5),
        row("rival", 2.0),
        row("slow", 9.0),
        row("fastbrain", 1.0, "b", over=1.0),
        row("rival", 0.5, "b"),
        row("fastbrain", 1.0, "c", "lora_linear", over=1.0, dtype="bfloat16"),
        row("rival", 1.01, "c", "lora_linear", dtype="bfloat16"),
        row("bare_gemm", 0.1, "c", "lora_linear", dtype="bfloat16", ceiling=True),
    ]


def test_a_case_is_judged_by_its_strongest_rival(rows):
    found = {duel.label: duel for duel in tables.duels(rows)}
    assert {label: duel.verdict for label, duel in found.items()} == {
        "a": "faster",
        "b": "slower",
        "c (bfloat16)": "draw",
    }
    assert found["a"].best["ms_p50"] == 2.0
    # a ceiling solves nothing
    assert [r["provider"] for r in found["c (bfloat16)"].rivals] == ["rival"]
    assert [(d.label, r["provider"]) for d, r in tables.losses(found.values())] == [
        ("b", "rival"),
        ("c (bfloat16)", "rival"),
    ]


def test_a_rival_is_judged_beside_our_variant_with_the_same_input(rows):
    packed = row("packed_rival", 0.8)
    packed |= {"against": "fastbrain_store", "ratio_to_fastbrain": 1.6}
    [duel] = [
        d for d in tables.duels([*rows, row("fastbrain_store", 0.5), packed]) if d.label == "a"
    ]
    assert duel.best["provider"] == "packed_rival"
    assert duel.own["provider"] == "fastbrain_store"
    other = next(r for r in duel.rivals if r["provider"] == "rival")
    assert duel.beside(other)["provider"] == "fastbrain"


def test_a_lost_case_is_named_once_with_its_strongest_rival():
    own = [row("fastbrain", 1.0, case, over=1.0) for case in ("a", "b")]
    found = tables.where_we_lose([*own, row("r", 0.9), row("s", 0.8), row("r", 0.5, "b")])
    assert found == (
        "Where we lose or draw: b against r (0.50x, 0.47-0.53); a against s (0.80x, 0.76-0.84)."
    )


def test_the_newest_row_counts(rows):
    [duel] = [d for d in tables.duels([*rows, row("rival", 3.0)]) if d.label == "a"]
    assert duel.best["ms_p50"] == 3.0


def test_pictures_are_whole_and_equal_for_equal_rows(rows):
    found = figures.figures(rows)
    assert [figure.name for figure in found] == [
        "ratio-amd-epyc",
        "latency-amd-epyc",
        "roofline-amd-epyc-float32-2",
    ]
    for figure in found:
        root = ElementTree.fromstring(figure.svg)
        text = " ".join(root.itertext())
        assert root.tag.endswith("svg")
        assert "vq_lookup" in text
        assert all(not url.startswith("http") for url in re.findall(rb'href="([^#"]+)', figure.svg))
    assert [f.svg for f in figures.figures(rows)] == [f.svg for f in found]


def test_many_cases_are_cut_between_ops():
    rows = [
        row(name, 1.0 + (name == "rival"), f"case-{n}", op)
        for op in ("vq_lookup", "lora_linear")
        for n in range(40)
        for name in ("fastbrain", "rival")
    ]
    names = [figure.name for figure in figures.figures(rows)]
    assert names == [f"{kind}-amd-epyc-{n}" for kind in ("ratio", "latency") for n in (1, 2)]


def test_the_page_names_losses_first_and_escapes_what_it_shows(rows):
    text = page.page(rows)
    assert text.index("Where we lose or draw") < text.index("Pictures") < text.index("Every case")
    assert "in 1 fastbrain is faster" in text.replace("\n", " ")
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert text.count("<svg") == 3
    # one file: nothing is loaded from elsewhere
    assert not re.search(r"<(script|link|img)|src=|url\((?!#)", text)


def test_one_case_is_no_plural():
    rows = [row("fastbrain", 1.0, over=1.0), row("rival", 2.0)]
    assert "<p>1 case with a rival:" in page.page(rows)


def test_rows_without_times_are_refused(rows):
    for draw in (figures.figures, page.page):
        with pytest.raises(InputError, match="must hold times of providers, got failed_vq_lookup"):
            draw(rows[:2])


def test_the_commands_write_pictures_and_the_page(rows, tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    RowFile(file).append(rows)
    out = tmp_path / "plots"
    assert cli.main(["bench", "plot", str(file), "--out", str(out)]) == 0
    assert len(list(out.glob("*.svg"))) == 3
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert cli.main(["bench", "report", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")

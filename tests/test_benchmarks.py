"""The registry of benchmarks and the tables of their rows; what they measure is not judged here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch

from fastbrain.bench import registry
from fastbrain.llm4brain.training.presets import PRESETS

FOLDER = Path(__file__).parents[1] / "benchmarks"


def test_every_case_is_named_once():
    names = [entry.id for entry in registry.entries()]
    assert len(names) == len(set(names))
    assert {entry.op for entry in registry.entries()} >= {
        "tokenize_voxels",
        "lora_linear",
        "neighborhood_clustering",
        "memory_update_",
        "vq_lookup",
    }


def test_an_entry_says_what_it_computes_in():
    """A row must not name a precision or a device that the entry ignores."""
    half = registry.Setting("cuda", torch.bfloat16)
    own = {
        entry.op: entry for entry in registry.entries("vq", "parcels", "brainllm", "training_steps")
    }
    for op, precision in {
        "vq_step": "float32",
        "brainllm_step": "float32",
        "scmbm_step": "float32",
        "parcel_means": "int16",
    }.items():
        assert own[op].precision_in(registry.Setting()) == precision
        assert own[op].precision_in(half) == precision
        assert not own[op].suits(half)
        assert own[op].suits(registry.Setting())
    assert own["vq_lookup"].suits(half)
    assert own["vq_lookup"].precision_in(half) == "bfloat16"
    assert not own["parcel_means"].suits(registry.Setting("cuda"))
    assert own["vq_step"].suits(registry.Setting("cuda"))


def test_rows_of_where_ours_failed_are_in_no_table(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import report

    env = {"threads": 1, "isa": "x", "torch": "2", "commit": "c", "date": "2026-11-27", "cpu": "p"}
    timed = {"ms_p50": 1.0, "ratio_to_fastbrain": None, "ratio_low": None, "ratio_high": None}
    row = {"op": "vq_lookup", "case": "a", "machine": "here", "env": env}
    verdicts = [{**row, "op": f"{kind}vq_lookup", "provider": "x"} for kind in report.VERDICTS]
    monkeypatch.setattr(
        report, "latest", lambda _machine: [{**row, "provider": "rival", **timed}, *verdicts]
    )
    assert report.report() == ""


@pytest.mark.parametrize(
    ("end", "kept"), [('{"op": "b", "ms', ""), ('{"op": "b"}', '{"op": "b"}\n')]
)
def test_half_a_row_of_a_killed_run_is_removed(tmp_path, monkeypatch, end, kept):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("OUT", str(tmp_path))
    from rows import Book

    file = tmp_path / "here" / "2026-11-27.jsonl"
    Book("here", "2026-11-27").write({"op": "a"})
    file.write_text(file.read_text() + end)
    Book("here", "2026-11-27").write({"op": "c"})
    assert file.read_text() == f'{{"op": "a"}}\n{kept}{{"op": "c"}}\n'


def test_the_table_of_parts_is_means_over_seeds(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import ablation

    def row(case, seed, value, snr=0.25):
        scores = {name: value for name in ("pairwise", "bleu1", "rougeL_f", "exact_match")}
        chance = {f"{name}_deranged": 0.1 for name in scores}
        return {"case": case, "title": case, "seed": seed, "snr": snr, "n": 9, **scores, **chance}

    rows = [row("full", 0, 0.9), row("full", 0, 0.5), row("full", 1, 0.7)]
    rows += [row("no_da", 0, 0.6), row("no_da", 1, 0.6), row("no_signal", 0, 0.1, snr=0.0)]
    lines = ablation.ablation_table([*rows, row("bare", 0, 0.2)]).splitlines()
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in lines}
    # the newest row of a seed counts, and a change is taken seed by seed
    assert cells["full"][0] == "0.600 ± 0.141 / 0.100"
    assert cells["no_da"][0] == "0.600 ± 0.000 (+0.000) / 0.100"
    # another cohort is no change of the recipe
    assert cells["no_signal"][0] == "0.100 / 0.100"
    assert cells["bare"][-1] == "1 |"


def test_the_tables_of_codes_are_means_over_seeds(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import coding

    def row(seed, domain, error, r2=0.8, adversary=None, p=0.01):
        ways = {way: {"value": error, "chance": 20.0, "p": p} for way in coding._WAYS}
        ways["mean"] = {"value": 15.0, "chance": 15.0, "p": 1.0}
        case = "with adversary" if domain else "without adversary"
        env = {"threads": 1, "cpu": "a processor", "commit": "abc", "date": "2026-11-21T00:00:00"}
        parts = {"train": 33, "val": 9, "test": 18}
        told = {"r2_mean": r2, "r2_ar1": r2, "usage": 1.0, "adversary": adversary, "probe": 1.0}
        where = {"seed": seed, "domain": domain, "case": case, "people": 60, "parts": parts}
        return {**where, "seconds": 40.0 + seed, "env": env, "mae": ways, **told}

    rows = [row(0, 0.0, 99.0, r2=0.1), row(1, 0.0, 7.0, r2=0.6), row(0, 0.0, 5.0)]
    rows += [row(0, 1.0, 16.0, adversary=0.5), row(1, 1.0, 18.0, adversary=0.9, p=0.5)]
    codes = coding.codes_table(rows)
    assert "40 to 41 s a run on 1 thread(s) of a processor, commit abc, 2026-11-21" in codes
    # the newest row of a seed counts, and there is no accuracy where there is no adversary
    assert "| 0 | no | 0.80 | 0.80 | 100% |  | 1.00 |" in codes
    assert "| all | no | 0.70 ± 0.14 | 0.70 ± 0.14 | 100% ± 0% |  | 1.00 ± 0.00 |" in codes
    ages = {line.split(" | ")[0].strip("| "): line for line in coding.age_table(rows).splitlines()}
    assert ages["mean age"] == "| mean age | 15.0 ± 0.0 | 15.0 ± 0.0 |"
    assert ages["head"] == "| head | **6.0 ± 1.4 (-9.0) / 20.0** | 17.0 ± 1.4 (+2.0) / 20.0 |"


def test_a_page_keeps_what_is_around_its_tables(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import pages

    text = "before\n<!-- age: begin -->\nold\n<!-- age: end -->\nafter\n"
    assert pages.between(text, "age", "new") == text.replace("old", "new")


def test_the_pages_hold_what_the_rows_give(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import overview
    import pages
    import report

    root = FOLDER.parent
    readme = (root / "README.md").read_text()
    best = overview.strongest(report.latest(None), report.is_rival)
    assert readme == pages.between(readme, "numbers", overview.headline(best))
    assert (
        report.report(short=True).replace("### ", "## ")
        in (root / "docs" / "numbers.md").read_text()
    )
    assert len(readme.splitlines()) < 120


def test_the_readout_can_be_measured(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr("sys.argv", ["readout.py", "--windows", "60", "--tokens", "3"])
    import readout

    readout.main()
    out = capsys.readouterr().out
    assert "case=60 windows of 3 tokens" in out
    assert "method=dual" in out


def started(monkeypatch, name: str, *arguments: str):
    """The module of a benchmark, with a command line."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER / "systems"))
    monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments])
    return import_module(name)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        # the clock of a thread would leave out the work of the others
        ("decode_engine", "--cpu --threads 2"),
        ("decode_engine", "--text FILE"),
        ("brainllm_long", "pca --share 0.1"),
        ("gpu_suite", "--race --families decode --machine x"),
        ("gpu_suite", "--families --machine x"),
        ("llm4brain", "--only full --presets paper"),
        ("report", "--write --machine x"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(monkeypatch, capsys, name, arguments):
    module = started(monkeypatch, name, *arguments.split())

    def begun(*_arguments):
        raise AssertionError("work began")

    for first in ("Recorder", "Suite", "write", "run_preset"):
        monkeypatch.setattr(module, first, begun, raising=False)
    with pytest.raises(SystemExit, match="2"):
        module.main()
    assert "usage:" in capsys.readouterr().err


def test_every_preset_can_be_benchmarked(monkeypatch, tmp_path):
    module = started(monkeypatch, "llm4brain", "--presets", *PRESETS, "--seeds", "3")
    done = []
    monkeypatch.setattr(module, "run_preset", lambda work, seed, name, machine: done.append(name))
    module.main()
    assert tuple(done) == PRESETS


def test_a_loader_that_feeds_nothing_leaves_no_row(monkeypatch, tmp_path):
    module = started(monkeypatch, "loader")
    rows = []
    monkeypatch.setattr(module, "make", lambda folder, runs: 1.0)
    monkeypatch.setattr(module, "in_child", lambda *arguments: {})
    with pytest.raises(SystemExit, match="feeding the tokenizer failed"):
        module.measure(tmp_path, 1, 1, lambda **row: rows.append(row))
    assert rows == []

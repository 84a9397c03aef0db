"""A run of the benchmarks: who is refused, what is kept, and where it goes on."""

from __future__ import annotations

import json

import pytest

from fastbrain import cli
from fastbrain.bench import session
from fastbrain.bench.lines import result_lines
from fastbrain.bench.rows import RowFile, read_rows
from fastbrain.bench.session import Plan, Session
from fastbrain.errors import ConfigError, InputError


@pytest.fixture
def timed(points, measured_roofline, tmp_path):
    """Run a plan of the op `squares`, and give what became of it."""

    def run(**options):
        plan = Plan(ops=["squares"], **{"out": tmp_path / "rows.jsonl", **options})
        return Session(plan, lambda rows: None).run()

    return run


def test_a_wrong_provider_is_refused_and_the_others_have_rows(timed, tmp_path):
    outcome = timed(machine="here")
    assert outcome.failed == ["squares-small (wrong)", "squares-large (wrong)"]
    rows = read_rows([tmp_path / "rows.jsonl"])
    [refused, _] = [row for row in rows if row["op"] == "failed_squares"]
    assert (refused["provider"], refused["note"]) == ("wrong", "wrong by 1, allowed are 1e-06")
    [skipped, _] = [row for row in rows if row["op"] == "skipped_squares"]
    assert skipped["note"] == "not installed: pip install it"
    ours = next(row for row in rows if row["op"] == "squares" and row["provider"] == "fastbrain")
    assert {"ms_p20", "ms_p50", "ms_p80", "ms_kernel_p50", "peak_mb", "roofline"} <= ours.keys()
    assert ours["rounds"] == 5
    assert ours["machine"] == "here"
    # 1024 operations at 1e11 a second take less than 512 bytes at 1e10
    assert ours["roofline"] == pytest.approx(51.2e-9 / (ours["ms_p50"] / 1e3))
    assert {"cpu", "threads", "torch", "commit", "sources"} <= ours["env"].keys()
    assert {row["provider"] for row in rows if row["op"] == "squares"} == {"fastbrain", "mine"}
    seeds = {(row["case"], row["order_seed"]) for row in rows if row["op"] == "squares"}
    assert len(seeds) == 2  # the contestants of a case share theirs


def test_the_same_line_goes_on_where_it_was_interrupted(timed, tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    whole = session.Measurement.run

    def interrupted(self, rounds):
        if self.entry.case == "large":
            raise KeyboardInterrupt
        return whole(self, rounds)

    monkeypatch.setattr(session.Measurement, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        timed()
    # a write that was cut
    path.write_text(path.read_text() + '{"op": "squa')
    monkeypatch.setattr(session.Measurement, "run", whole)
    assert timed().known == ["squares-small"]
    rows = read_rows([path])
    assert sum(row["op"] == "roofline" for row in rows) == 1
    assert [row["case"] for row in rows if row["op"] == "failed_squares"] == ["small", "large"]
    assert timed().known == ["squares-small", "squares-large"]


@pytest.mark.parametrize(
    "changed",
    [{"machine": "other"}, {"caches": ("cold",)}, {"threads": 2}, {"dtype": "float16"}],
    ids=str,
)
def test_another_run_is_timed_again(timed, changed):
    timed(threads=1)
    assert timed(**{"threads": 1, **changed}).known == []


def test_other_sources_are_timed_again(timed, tmp_path):
    timed()
    path = tmp_path / "rows.jsonl"
    own = read_rows([path])[0]["env"]["sources"]
    path.write_text(path.read_text().replace(own, "0" * 12))
    assert timed().known == []


def test_what_there_is_no_time_for_is_said_and_done_later(timed):
    outcome = timed(budget_s=1e-9)
    assert outcome.left == ["squares-small", "squares-large"]
    assert timed().known == []


def test_only_chosen_rivals_take_part(timed, tmp_path):
    assert timed(cases=["small"], providers=["mine"]).failed == []
    rows = read_rows([tmp_path / "rows.jsonl"])
    assert [row["provider"] for row in rows if "provider" in row][1:] == ["fastbrain", "mine"]


def test_a_line_says_of_what_its_ratio_is(timed, tmp_path):
    timed(cases=["small"])
    mine = read_rows([tmp_path / "rows.jsonl"])[-1]
    assert mine["provider"] == "mine"
    assert "x the time of fastbrain (" in result_lines([mine])[1]
    assert "x the time of other (" in result_lines([{**mine, "against": "other"}])[1]


def test_an_entry_that_cannot_be_set_up_is_a_row(timed, points, monkeypatch, tmp_path):
    def broken(entry, setting):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("fastbrain.bench.measuring.assembled", broken)
    assert timed(cases=["small"]).failed == ["squares-small (could not be set up)"]
    row = read_rows([tmp_path / "rows.jsonl"])[-1]
    assert row["note"] == "RuntimeError: out of memory"
    assert "setting up" in result_lines([row])[1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ops": ["vq_lokup"]}, "Did you mean 'vq_lookup'"),
        ({"cases": ["xyz"]}, r"case must be one of (?!.*Known)"),
        ({"providers": ["faiss"]}, "provider must be one of"),
        ({"caches": []}, "cold or warm must be on"),
        ({"rounds": 0}, "must be positive"),
        ({"budget_s": float("nan")}, "must be positive"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        Plan(**options)


def test_nothing_suits_a_precision_that_no_case_has():
    with pytest.raises(ConfigError, match="some case must suit cpu and float16"):
        Plan(ops=["vq_step"], dtype="float16").entries()


def test_a_file_that_holds_something_else_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"op": "x"}\n')
    with pytest.raises(InputError, match="got line 1"):
        RowFile(path)
    with pytest.raises(InputError, match="must be a file of rows"):
        read_rows([tmp_path / "none"])


def test_the_command_prints_a_table_and_keeps_rows(points, measured_roofline, tmp_path, capsys):
    out = tmp_path / "new" / "rows.jsonl"
    code = cli.main(["bench", "run", "--op", "squares", "--case", "small", "--out", str(out)])
    printed = capsys.readouterr()
    assert code == 1
    assert "squares small, float32" in printed.out
    assert "failed: wrong by 1" in printed.out
    assert "not timed: squares-small (wrong)" in printed.err
    assert json.loads(out.read_text().splitlines()[0])["op"] == "roofline"


def test_the_list_names_cases_and_providers(points, capsys):
    assert cli.main(["bench", "--list", "--op", "squares", "vq_step"]) == 0
    out = capsys.readouterr().out
    assert "squares: small, large" in out
    assert "vq_step: 16384x8192x128" in out
    assert "faiss_flat" in out

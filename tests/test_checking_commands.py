"""The two commands for checking: what ``doctor`` lists, and when ``selftest`` passes."""

from __future__ import annotations

import io
import json
import sys

from own_process import fastbrain

from fastbrain import __version__, cli


def test_doctor_lists_every_op_and_backend(capsys):
    from fastbrain.ops._dispatch import FAMILIES, NAMES

    assert cli.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {answer["op"] for answer in found["backends"]} == set(FAMILIES)
    for answer in found["backends"]:
        assert set(answer["backends"]) == set(NAMES)
        assert answer["backends"][answer["chosen"]] is None
    assert found["native"]["isa"] in found["native"]["isas"]
    assert "writable" in found["environment"]["working folder"]
    assert found["attention"]["why"]
    assert all(part["install"].startswith("pip install ") for part in found["optional"])


def test_doctor_prints_plain_lines_where_there_is_no_terminal(capsys):
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert __version__ in shown
    assert "tokenize_voxels" in shown
    assert "cache folder" in shown
    assert "\x1b" not in shown


def test_doctor_prints_tables_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    assert cli.main(["doctor"]) == 0
    assert "Backends" in sys.stdout.getvalue()
    assert "─" in sys.stdout.getvalue()


def test_doctor_survives_a_missing_extension():
    code = (
        "import sys; sys.modules['fastbrain._native'] = None; "
        "from fastbrain.cli import main; main(['doctor'])"
    )
    ran = fastbrain("doctor", "--json", code=code)
    assert ran.returncode == 0, ran.stderr
    plain, brace, found = ran.stdout.partition("\n{")
    assert "fastbrain._native    cannot be loaded: " in plain
    assert json.loads(brace + found)["native"]["built"] is False


def test_a_source_without_its_compiled_part_says_what_to_do():
    ran = fastbrain("selftest", code="import sys; sys.modules['fastbrain._native'] = None")
    assert ran.returncode == 1
    assert "unexpected" not in ran.stderr
    assert "the compiled part fastbrain._native must be in" in ran.stderr
    assert "run from another folder than this source" in ran.stderr
    assert "make setup" in ran.stderr


def test_doctor_names_what_brings_a_missing_part(monkeypatch, capsys):
    from fastbrain.commands import doctor

    real = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda n: None if n == "nilearn" else real(n))
    assert cli.main(["doctor"]) == 0
    line = next(row for row in capsys.readouterr().out.splitlines() if "nilearn " in row)
    assert "missing" in line
    assert "pip install 'fastbrain-fmri[demo]'" in line


def test_doctor_says_that_there_is_no_gpu():
    from fastbrain.commands import doctor

    native = {"built": True, "cpu_threads": 1, "cuda_compiled": True, "isa": "avx2", "isas": []}
    native |= {"cuda_devices": "CUDA driver version is insufficient", "driver": None}
    assert ("CUDA devices", "none: no NVIDIA GPU was found") in doctor._native_rows(native)
    rows = doctor._native_rows(native | {"driver": "550"})
    assert ("CUDA devices", "none: CUDA driver version is insufficient") in rows


def test_doctor_says_what_a_backend_needs():
    from fastbrain.commands import doctor

    found = {answer["op"]: answer["backends"] for answer in doctor.report()["backends"]}
    assert not any("the tensors are on" in str(reasons) for reasons in found.values())
    assert doctor._need("the tensors are on cpu") == "needs a GPU"
    assert doctor._need("the tensors are on cuda:0") == "runs on the CPU alone"
    assert doctor._need("triton is not installed") == "triton is not installed"


def test_doctor_notices_the_other_package_of_that_name(monkeypatch, capsys):
    from fastbrain.commands import doctor

    real = doctor.version
    assert doctor.report()["conflict"] is None
    monkeypatch.setattr(doctor, "version", lambda n: "3.1" if n == "fastbrain" else real(n))
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "the package fastbrain 3.1 is installed, which is not this project" in out
    assert real(doctor.DISTRIBUTION) == __version__


def test_selftest_passes(capsys):
    assert cli.main(["selftest", "--backend", "cpu", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("PASS  tokenize_voxels") for line in lines)
    assert not any("FAIL" in line for line in lines)


def test_selftest_fails_on_a_wrong_kernel(monkeypatch, capsys):
    from fastbrain.ops import _selftest

    monkeypatch.setattr(_selftest, "check", lambda *args: (False, 0.5))
    assert cli.main(["selftest", "--backend", "cpu", "--device", "cpu"]) == 1
    shown = capsys.readouterr().out
    assert "FAIL  tokenize_voxels" in shown
    assert "PASS" not in shown


def test_selftest_shows_why_a_case_crashed(monkeypatch, capsys):
    from fastbrain.ops import _selftest

    def crash(*args):
        raise ArithmeticError("lost a digit")

    monkeypatch.setattr(_selftest, "check", crash)
    assert cli.main(["selftest", "--backend", "cpu", "--device", "cpu"]) == 1
    assert "ArithmeticError: lost a digit" in capsys.readouterr().out


def test_selftest_refuses_to_pass_where_nothing_ran(capsys):
    # no op of the CPU runs on a backend called cuda
    assert cli.main(["selftest", "--backend", "cuda", "--device", "cpu"]) == 1
    assert "doctor says why" in capsys.readouterr().err

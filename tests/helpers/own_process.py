"""The command line, or a program, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def fastbrain(*args: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line after `code`."""
    program = f"{code}\nimport sys; from fastbrain.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True)


def processor_seconds(program: str) -> float:
    """Processor time of a Python program that has to end well."""
    before = os.times()
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    now = os.times()
    used = now.children_user - before.children_user
    return used + now.children_system - before.children_system

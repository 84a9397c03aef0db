"""The study of this name, which is in studies/: commands with its former path still run it."""

import runpy
import sys
from pathlib import Path

study = Path(__file__).resolve().parents[1] / "studies" / Path(__file__).name
sys.path.insert(0, str(study.parent))
globals().update(runpy.run_path(str(study), run_name=__name__))

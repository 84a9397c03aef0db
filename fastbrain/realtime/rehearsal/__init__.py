"""A rehearsal before a session: synthetic scanner, injected faults, go or no-go."""

from .faults import FaultPlan, FaultRates
from .rehearse import rehearse
from .scanner import FolderScanner, SyntheticBrain
from .tally import Tally
from .verdict import Latency, Verdict, judge, show

__all__ = [
    "FaultPlan",
    "FaultRates",
    "FolderScanner",
    "Latency",
    "SyntheticBrain",
    "Tally",
    "Verdict",
    "judge",
    "rehearse",
    "show",
]

"""Low-latency decoding: a static cache that is rewound, and a forward pass without overhead."""

from .cache import Prefix
from .constraints import Constraint, PhraseList
from .engine import DecodeEngine
from .guidance import Grammar
from .result import EngineResult, TokenEvent

__all__ = [
    "Constraint",
    "DecodeEngine",
    "EngineResult",
    "Grammar",
    "PhraseList",
    "Prefix",
    "TokenEvent",
]

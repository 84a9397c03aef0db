"""Decode sentences: predict an embedding from the brain, let a language model write towards it."""

from .candidates import Candidates
from .decoder import SentenceDecoder
from .decoder_fit import fit_sentence_decoder
from .evidence import SentenceEvidence, fit_evidence
from .line_writer import LineWriter
from .loading import load_sentence_decoder
from .options import WRITING, SentenceWriting
from .readout import SentenceReadout, fit_sentence_readout

__all__ = [
    "WRITING",
    "Candidates",
    "LineWriter",
    "SentenceDecoder",
    "SentenceEvidence",
    "SentenceReadout",
    "SentenceWriting",
    "fit_evidence",
    "fit_sentence_decoder",
    "fit_sentence_readout",
    "load_sentence_decoder",
]

"""Decode brain windows with a trained run, whichever system it is of."""

from .decode import DecodedWindow, Decoding, decode
from .open_decoder import RunDecoder, open_decoder

__all__ = ["DecodedWindow", "Decoding", "RunDecoder", "decode", "open_decoder"]

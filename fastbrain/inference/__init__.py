"""Decode brain windows with a trained run, whichever system it is of."""

from .decode import DecodedWindow, Decoding, decode
from .decode_story import decode_story
from .decoded_story import DecodedStory, StorySegment
from .open_decoder import RunDecoder, open_decoder

__all__ = [
    "DecodedStory",
    "DecodedWindow",
    "Decoding",
    "RunDecoder",
    "StorySegment",
    "decode",
    "decode_story",
    "open_decoder",
]

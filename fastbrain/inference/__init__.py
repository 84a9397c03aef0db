"""Decode brain windows with a trained run, whichever system it is of."""

from .decode import decode
from .decode_story import decode_story
from .decoded_story import DecodedStory, StorySegment
from .decoded_windows import DecodedWindow, Decoding
from .open_decoder import RunDecoder, open_decoder
from .pipeline import BrainToText, pipeline

__all__ = [
    "BrainToText",
    "DecodedStory",
    "DecodedWindow",
    "Decoding",
    "RunDecoder",
    "StorySegment",
    "decode",
    "decode_story",
    "open_decoder",
    "pipeline",
]

"""Annotators based on models: a language model for captions, a video model for clips.

>>> from fastbrain.integrations.annotators import TextModel  # doctest: +SKIP
>>> annotate(requests, TextModel("models/llama-3"), cache="answers")  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .._arguments import checked
from ..data import AnnotatorCard, Request
from ..data.readers.clips import read_clip
from ..errors import CohortError, ConfigError
from ..lm.chat import answer_clips, answer_texts, load_video_llm
from ..lm.loading import load_llm, model_digest

# prompt that describes the stimulus to a language model
FRAME = "A person saw this: {facts}\n{instruction} Answer in one sentence."


@checked(least={"max_tokens": 1})
class TextModel:
    """Annotator with a causal language model that reads captions or the class name.

    Parameters
    ----------
    name_or_path : str
        Name on the hub, or a folder.
    frame : str
        Prompt; ``{facts}`` and ``{instruction}`` are filled in.
    max_tokens : int
    device : str

    Raises
    ------
    ConfigError
        `frame` does not contain both exactly once.
    """

    def __init__(
        self, name_or_path: str, *, frame: str = FRAME, max_tokens: int = 64, device: str = "cpu"
    ) -> None:
        if frame.count("{facts}") != 1 or frame.count("{instruction}") != 1:
            raise ConfigError(
                f"TextModel: frame must have {{facts}} and {{instruction}} once, got {frame!r}."
            )
        self.frame, self.max_tokens = frame, max_tokens
        self.llm, self.tokenizer = load_llm(name_or_path, device=device)
        self.card = _card("language model", name_or_path, self.llm, frame, max_tokens)

    def annotate(self, requests: Sequence[Request]) -> list[str]:
        """Return one answer for each request."""
        questions = [self._question(request) for request in requests]
        return answer_texts(self.llm, self.tokenizer, questions, max_tokens=self.max_tokens)

    def _question(self, request: Request) -> str:
        facts = " ".join(request.captions) or request.name
        if not facts:
            raise CohortError(
                f"TextModel: {request.record_id} must have captions or a class name, got neither."
            )
        question = self.frame.replace("{instruction}", request.instruction)
        return question.replace("{facts}", facts)


@checked(least={"frames": 1, "size": 1, "max_tokens": 1})
class VideoModel:
    """Annotator with a video language model of transformers that reads the clip.

    Parameters
    ----------
    name_or_path : str
        Name on the hub, or a folder.
    frames, size : int
        Frames taken from a clip, and their side in pixels.
    max_tokens : int
    device : str
    """

    def __init__(
        self,
        name_or_path: str,
        *,
        frames: int = 8,
        size: int = 224,
        max_tokens: int = 64,
        device: str = "cpu",
    ) -> None:
        self.frames, self.size, self.max_tokens = frames, size, max_tokens
        self.model, self.processor = load_video_llm(name_or_path, device=device)
        self.card = _card("video model", name_or_path, self.model, frames, size, max_tokens)

    def annotate(self, requests: Sequence[Request]) -> list[str]:
        """Return one answer for each request."""
        absent = [r for r in requests if not r.clip or not Path(r.clip).is_file()]
        if absent:
            raise CohortError(
                f"VideoModel: every record must have its clip, got none for "
                f"{absent[0].record_id} ('{absent[0].clip}') and {len(absent) - 1} more. "
                "Fetch the stimuli of the data set."
            )
        clips = [
            torch.from_numpy(read_clip(Path(r.clip), frames=self.frames, size=self.size))
            for r in requests
        ]
        questions = [r.instruction for r in requests]
        return answer_clips(
            self.model, self.processor, clips, questions, max_tokens=self.max_tokens
        )


def _card(kind: str, name_or_path: str, model: Any, *settings: object) -> AnnotatorCard:
    # a folder is recorded by its name; the digest identifies its weights
    name = Path(name_or_path).name if Path(name_or_path).is_dir() else name_or_path
    if commit := getattr(model.config, "_commit_hash", None):
        name = f"{name}@{commit}"
    digest = hashlib.sha256(json.dumps([model_digest(model), *settings]).encode())
    return AnnotatorCard(f"{kind} {name}", digest.hexdigest()[:16])

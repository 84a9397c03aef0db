"""Options of the commands that let a model write the target texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .._environment import check_environment
from .._io import cache_folder
from ..data import Annotator, Captions, captions_from_tsv
from ..data.studies.own_clips import read_instructions
from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AnnotationOptions:
    """Who writes the target texts, if the data set or the events do not."""

    captions: Path | None = None
    """Table (TSV) of your own captions: stimulus, caption."""
    text_model: str | None = None
    """Folder or hub name of a language model that answers from captions or class names."""
    video_model: str | None = None
    """Folder or hub name of a video language model of transformers that answers from the clips."""
    instructions: Path | None = None
    """File with one instruction a line, of which each trial is asked one; default: built-in."""
    answers: Path | None = None
    """Folder for the answers of the model, reused if present; default: in the cache folder."""
    device: str = "cpu"
    """Device for the model, e.g. cuda."""
    seed: int = 0
    """Seed of instructions and of the choice among captions and templates."""

    @property
    def annotates(self) -> bool:
        """Whether the texts are those of a model or a table of captions."""
        return any((self.captions, self.text_model, self.video_model))

    def check_annotator(self, command: str, out: Path) -> None:
        """Raise unless one annotator at most is given, and its answers can be written."""
        chosen = [self.captions, self.text_model, self.video_model]
        if sum(choice is not None for choice in chosen) > 1:
            raise ConfigError(
                f"{command}: one of --captions, --text-model and --video-model must say the texts, "
                f"got {sum(choice is not None for choice in chosen)}."
            )
        model = bool(self.text_model or self.video_model)
        check_environment(out, cache=model and self.answers is None, function=command)
        if self.answers is not None:
            check_environment(self.answers, function=command)

    def asked(self) -> tuple[str, ...]:
        """Return the instructions of the file; none without one."""
        return () if self.instructions is None else read_instructions(self.instructions)

    def annotator(self) -> tuple[Annotator | None, Path | None]:
        """Make the annotator, which loads its model; with the folder of its answers."""
        if self.captions is not None:
            return Captions(captions_from_tsv(self.captions)), self.answers
        if self.text_model is None and self.video_model is None:
            return None, self.answers
        from ..integrations.annotators import TextModel, VideoModel

        made: TextModel | VideoModel
        if self.text_model is not None:
            made = TextModel(self.text_model, device=self.device)
        else:
            assert self.video_model is not None
            made = VideoModel(self.video_model, device=self.device)
        return made, self.answers or cache_folder() / "answers" / made.card.digest

"""Cut what was heard in a run into segments of volumes, each with words, prompt and window."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import CohortError
from ..readers.events import Trial
from ..readers.recordings import open_recording
from ..readers.runs_table import RunRecord
from ..readers.timing import TR_TOLERANCE_S, volume_during, volumes_to_cover
from ..readers.trial_windows import WindowSpec
from ..readers.word_timings import story_samples
from .known import PublicDataset
from .story_layouts import HeardStory, StoryRun


def segment_trials(
    one: StoryRun,
    dataset: PublicDataset,
    spec: WindowSpec,
    *,
    segment: int,
    prompt: int,
    n_volumes: int | None = None,
) -> list[Trial]:
    """Cut the stories of a run into trials; see :func:`fastbrain.data.plan_stories`.

    Parameters
    ----------
    one : StoryRun
    dataset : PublicDataset
    spec : WindowSpec
    segment, prompt : int
        Volumes of a segment, and before it.
    n_volumes : int, optional
        Length of the run. Default: that of its image; while it is absent, until its stories end.

    Raises
    ------
    CohortError
        The repetition time is not that of the data set, or no window of a story fits.
    """
    run = one.run
    tr = run.tr if run.tr is not None else dataset.tr
    if abs(tr - dataset.tr) > TR_TOLERANCE_S:
        raise CohortError(
            f"plan_stories: {run.run_id} must have the repetition time of {dataset.title}, "
            f"{dataset.tr:g} s, got {tr:g} s."
        )
    length = _volumes(run, one.stories, tr) if n_volumes is None else n_volumes
    # volumes from the start of a segment to that of its window
    shift = spec.start(0.0, tr=tr)
    # a prompt must not reach into a segment of another part
    guard = max(spec.guard_trs(tr), segment + prompt - spec.window_trs)
    trials: list[Trial] = []
    for told in one.stories:
        first = max(volume_during(told.onset, tr), -shift)
        last = min(length, length - shift - spec.window_trs + segment)
        if first + segment > last:
            raise CohortError(
                f"plan_stories: {run.run_id} must have volumes for a window of {told.version}, got "
                f"{length}, and a story that begins in volume {first}."
            )
        samples = story_samples(
            told.words, tr=tr, n_volumes=last, window=segment, prompt=prompt,
            onset_s=told.onset, trim=(first, 0),
        )  # fmt: skip
        for sample in samples:
            onset = sample.start * tr + run.start_time
            number = (sample.start - first) // segment
            trials.append(
                Trial(
                    trial_id=f"{run.run_id}_trial-{len(trials) + 1:04d}",
                    run_id=run.run_id,
                    subject=run.subject,
                    session=run.session,
                    run=run.run,
                    onset=onset,
                    duration=segment * tr,
                    start=spec.start(onset, tr=tr, start_time=run.start_time),
                    frames=spec.window_trs,
                    stimulus=f"{told.version}-{number:04d}",
                    text=sample.text,
                    guard_trs=guard,
                    story=told.story,
                    family=run.family,
                    site=run.site,
                    prompt=sample.prompt,
                )
            )
    return trials


def _volumes(run: RunRecord, stories: Sequence[HeardStory], tr: float) -> int:
    """Number of volumes of the image; while it is absent, those until its stories end."""
    if run.bold.is_file():
        return open_recording(run).shape[0]
    if run.n_volumes is not None:
        return run.n_volumes
    return volumes_to_cover(max(told.end for told in stories), tr)

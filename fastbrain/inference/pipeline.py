"""One call from a trained model to texts, in the manner of the pipelines of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from .._arguments import checked
from .._run_kind import RunKind
from ..data import RunRecord, VoxelStore
from ..decoding import Sampling
from ..errors import InputError
from ..llm4brain.joint_run import grids_of_run
from ..lm.sources import without_network
from ..vqlm.predict import predict_people
from .decode import Part, decode_records
from .decoded_windows import Decoding
from .model_places import find_run
from .open_decoder import RunDecoder, preparation_for
from .openers import Opener, opener_of
from .pipeline_inputs import Study, records_of, sort_inputs

TASKS = ("brain-to-text",)
Row = dict[str, Any]


@checked
def pipeline(
    task: str,
    model: str | Path,
    *,
    device: str = "cpu",
    sampling: Sampling | None = None,
    confidence: bool = True,
    unknown_subject: str | None = None,
    engine: bool = False,
    llm: str | None = None,
    encoder: str | None = None,
    seed: int | None = None,
    revision: str | None = None,
    download: bool = False,
) -> BrainToText:
    """Open a trained model of any system, to be called with recordings.

    Parameters
    ----------
    task : {"brain-to-text"}
    model : str or Path
        Run folder of LLM4Brain, BrainLLM or the fMRI language model; the folder ``model`` of a
        run; ``decoders/retrieve`` or ``decoders/edit`` in a run, for the sentence decoder that
        :func:`fastbrain.evaluate_run` kept there; or the name of an uploaded model on the hub.
    device : str
        Only the CPU for the fMRI language model.
    sampling, confidence, unknown_subject, engine, seed
        As in :func:`fastbrain.decode`; not for the fMRI language model.
    llm : str, optional
        Folder or name of the language model of training, where it is not at its recorded place. An
        upload does not contain it.
    encoder : str, optional
        The same of the encoder of a sentence decoder.
    revision : str, optional
        Commit, tag or branch of a model on the hub.
    download : bool
        Whether the network may be used, to fetch a model of the hub and the language model that it
        names. Otherwise both must be on this machine.

    Returns
    -------
    BrainToText

    Raises
    ------
    InputError
        The task is unknown, an option is of another system, or a model of the hub is not in the
        cache and `download` is false.
    CheckpointError
        There is no such model, training is not finished, or a file is missing or damaged.

    Examples
    --------
    >>> read = fastbrain.pipeline("brain-to-text", model="runs/first")  # doctest: +SKIP
    >>> read("sub-01_bold.nii.gz", every=5)[0]["text"]  # doctest: +SKIP
    """
    if task not in TASKS:
        raise InputError(
            f"pipeline: task must be one of {', '.join(TASKS)}, got {task!r}. Name one of these."
        )
    run, kind, decoder = find_run(model, revision=revision, download=download, function="pipeline")
    if kind == "vq-lm":
        given: dict[str, Any] = {"sampling": sampling, "unknown_subject": unknown_subject}
        given |= {"llm": llm, "encoder": encoder, "seed": seed}
        wrong = [name for name, value in given.items() if value is not None]
        wrong += ["engine"] * engine + ["device"] * (device != "cpu")
        wrong += ["confidence"] * (not confidence)
        if wrong:
            raise InputError(
                f"pipeline: {wrong[0]} must be left out for a run of vq-lm, which writes a number "
                "or label on the CPU, got a value."
            )
        return BrainToText(run, kind, None)
    fresh = opener_of(
        decoder, sampling=sampling, unknown_subject=unknown_subject, device=device, engine=engine,
        llm=llm, encoder=encoder, seed=seed, function="pipeline",
    )  # fmt: skip
    opened: dict[Path, RunDecoder] = {}

    def opener(folder: Path, like: VoxelStore) -> RunDecoder:
        if folder not in opened:
            with without_network(not download):
                opened[folder] = fresh(folder, like)
        return opened[folder]

    return BrainToText(run, kind, opener, confidence=confidence, seed=seed or 0)


class BrainToText:
    """A trained model that is called with recordings; returned by :func:`pipeline`.

    Parameters
    ----------
    run : Path
        Run folder.
    kind : {"llm4brain", "brainllm", "vq-lm"}
    opener : callable or None
        Opens the decoder of a run folder of one grid; None for the fMRI language model.
    confidence, seed
        As in :func:`fastbrain.decode`.
    """

    def __init__(
        self,
        run: Path,
        kind: RunKind,
        opener: Opener | None,
        *,
        confidence: bool = True,
        seed: int = 0,
    ) -> None:
        self.run, self.kind = run, kind
        self._opener, self._confidence, self._seed = opener, confidence, seed
        if opener is not None and not grids_of_run(run, function="pipeline"):
            opener(run, preparation_for(run))  # a missing file raises here, not at the first call

    def __repr__(self) -> str:
        return f"BrainToText({self.kind!r}, {str(self.run)!r})"

    @checked
    def __call__(
        self,
        inputs: Any,
        *,
        events: str | Path | Sequence[str | Path] = (),
        every: int | None = None,
        tr: float | None = None,
        affine: Any = None,
        subject: str = "",
        part: Part | None = None,
        late: Literal["error", "drop"] = "error",
    ) -> list[Row]:
        """Decode recordings or the windows of stores.

        Parameters
        ----------
        inputs : path, array, VoxelStore, Volumes, RunRecord, study, or a sequence of these
            A path of a preprocessed image (NIfTI), or of the folder or URL of a store. An array is
            volumes (T, Z, Y, X), as :class:`fastbrain.data.Volumes` reads them. For the fMRI
            language model, a study or its folder.
        events : path or sequence of path, optional
            Events table of each recording; see :func:`fastbrain.decode`.
        every : int, optional
            In place of events, volumes from one window to the next. Default: the length of a
            window.
        tr : float, optional
            Repetition time in seconds: of arrays, and of images that do not state it.
        affine : array_like, (4, 4), optional
            Of arrays: voxel (x, y, z) to world mm.
        subject : str
            Subject of the recordings, for file names without one.
        part : {"train", "val", "test"}, optional
            Part of the split of a store.
        late : {"error", "drop"}
            What happens to an event with a window that leaves its recording.

        Returns
        -------
        list of dict
            Of each window in turn: `text`; `onset_s`, its onset in seconds; and the other entries
            of :class:`fastbrain.inference.DecodedWindow`. Margins are relative to the other windows
            of the same call, or of the same store. Of each person for the fMRI language model:
            `text`, the predicted value, and the entries of its prediction.

        Raises
        ------
        InputError
            `inputs` is empty, mixed, or of a kind that the model does not read; an array has no
            affine or repetition time; an argument does not go with the inputs.
        CohortError, StoreError, VolumeError
            A recording, table or store is invalid; the message names it.
        """
        found = sort_inputs(inputs, kind=self.kind)
        of_recordings = {"events": events, "every": every, "tr": tr, "subject": subject}
        of_recordings |= {"affine": affine, "late": late if late != "error" else None}
        spare = [n for n, v in of_recordings.items() if v is not None and not _empty(v)]
        if (found.stores or found.studies) and spare:
            raise InputError(
                f"pipeline: {spare[0]} must come with recordings, got a store or study, which has "
                "its own. Leave it out."
            )
        if part is not None and not found.stores:
            raise InputError("pipeline: part must come with a store, got none. Leave it out.")
        if found.studies:
            return [row for study in found.studies for row in self._people(study)]
        if found.stores:
            decodings = [self._decode((), store=store, part=part) for store in found.stores]
            return [row for each in decodings for row in _rows(each)]
        with records_of(found, events=events, tr=tr, affine=affine, subject=subject) as records:
            if every is not None and any(record.events is not None for record in records):
                raise InputError("pipeline: events and every must not both be given. Use one.")
            return _rows(self._decode(records, every=every, late=late))

    def _decode(self, records: Sequence[RunRecord], **options: Any) -> Decoding:
        assert self._opener is not None  # a run of vq-lm reads studies alone
        return decode_records(
            self.run, records, self._opener, confidence=self._confidence, seed=self._seed, **options
        )  # fmt: skip

    def _people(self, study: Study) -> list[Row]:
        found = predict_people(self.run, study)
        return [
            {"text": _value_text(person.value), "target": found.facts["target"], **asdict(person)}
            for person in found.people
        ]


def _rows(found: Decoding) -> list[Row]:
    rows = []
    for window in found.windows:
        own = asdict(window)
        rows.append({"text": own.pop("text"), "onset_s": own.pop("onset"), **own})
    return rows


def _value_text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def _empty(value: Any) -> bool:
    return isinstance(value, str | tuple | list) and not len(value)

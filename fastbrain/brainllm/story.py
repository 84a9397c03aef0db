"""Decode long scans window by window, with the number of words predicted from the brain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .._arguments import checked
from ..decoding.generation import _Stepper
from ..decoding.story import Story
from ..decoding.word_starts import WordStarts
from ..errors import ConfigError, InputError
from ..nn.modes import evaluating
from .model import BrainLLM


@checked(error=ConfigError)
@dataclass(frozen=True)
class StorySearch:
    """Options of :func:`reconstruct`; :func:`story_search` returns the published ones.

    Parameters
    ----------
    beams : int
        Hypotheses kept at each step.
    extensions : int
        Extensions of each hypothesis: the likeliest of its candidates.
    candidates : int
        Tokens proposed at each step; only their probabilities leave the device.
    context : int
        Number of previously decoded tokens used as the prompt of a window.
    recent : int
        Number of previously decoded tokens to which `repetition_penalty` applies.
    repetition_penalty : float
        Multiplies the negative log probability of recent tokens; 1 is off.
    length_penalty : float
        The score of a hypothesis is its log probability divided by ``tokens ** length_penalty``.
    longest_word : int
        Maximum number of tokens in a word.
    """

    beams: int = 3
    extensions: int = 3
    candidates: int = 200
    context: int = 10
    recent: int = 10
    repetition_penalty: float = 1.0
    length_penalty: float = 0.3
    longest_word: int = 8

    def __post_init__(self) -> None:
        least = {"beams": 1, "extensions": 1, "candidates": 1, "longest_word": 1}
        for name, bound in {**least, "context": 0, "recent": 0}.items():
            if getattr(self, name) < bound:
                raise ConfigError(
                    f"StorySearch: {name} must be >= {bound}, got {getattr(self, name)}."
                )
        penalties = self.repetition_penalty, self.length_penalty
        if not (penalties[0] >= 1 and penalties[1] >= 0 and max(penalties) < math.inf):
            raise ConfigError(
                "StorySearch: repetition_penalty must be >= 1 and length_penalty >= 0, got "
                f"{self.repetition_penalty} and {self.length_penalty}."
            )


@checked
def story_search(name: str = "published") -> StorySearch:
    """Return search settings by name.

    Parameters
    ----------
    name : {"published", "fastbrain"}
        ``"published"``: three beams, three extensions, 200 candidates, contexts of ten tokens and
        a length penalty of 0.3 (BrainLLM, arXiv 2311.09889). ``"fastbrain"`` also penalises
        repetition, because a small language model repeats itself when it generates long texts.

    Raises
    ------
    ConfigError
        The name is unknown.
    """
    known = {"published": StorySearch(), "fastbrain": StorySearch(repetition_penalty=2.0)}
    if name not in known:
        raise ConfigError(f"story_search: name must be one of {sorted(known)}, got {name!r}.")
    return known[name]


@dataclass(frozen=True)
class _Path:
    tokens: tuple[int, ...]
    total: float = 0.0
    words: int = 0  # words begun in this window
    length: int = 0  # tokens in the current word
    ends: tuple[int, ...] = ()  # tokens at the end of each window
    row: int = 0
    given: int = 0  # tokens of the true words before the first window, which are not scored

    def score(self, penalty: float) -> float:
        return self.total / max(1, len(self.tokens) - self.given) ** penalty


@checked
@torch.no_grad()
def reconstruct(
    model: BrainLLM,
    windows: Tensor | None,
    counts: Sequence[int],
    *,
    search: StorySearch | None = None,
    prompts: Sequence[str] | None = None,
) -> Story:
    """Decode a story window by window by beam search, with a given word count per window.

    Each window is decoded after the text decoded so far. The keys and values of a window's brain
    and context are computed once and stay on the device, as does the vocabulary.

    Parameters
    ----------
    model : BrainLLM
    windows : Tensor, (W, t, k), or None
        In temporal order. Windows may overlap if each count covers only the words of its own step.
        None: no brain tokens between the marks (and no marks within ``model.untuned()``), so that
        the text depends on the word rate and the language model only.
    counts : sequence of int, (W,)
        Number of words in each window; :meth:`fastbrain.brainllm.WordRate.counts` predicts it.
    search : StorySearch, optional
        Default: the published settings.
    prompts : sequence of str, (W,), optional
        True words before each window, in place of the text decoded so far: the result is then
        teacher-forced, and its score the sum over windows.

    Returns
    -------
    Story
        Each window has exactly the number of words given by `counts`.

    Raises
    ------
    InputError
        Sizes disagree, a count is negative, a window is not finite, or its words do not fit the
        context.
    """
    search = search or story_search()
    wanted = [int(count) for count in counts]
    if windows is not None and (windows.ndim != 3 or not bool(windows.isfinite().all())):
        raise InputError(
            f"reconstruct: windows must be finite (W, t, k), got {tuple(windows.shape)}. Look at "
            "the recordings."
        )
    if not wanted or min(wanted) < 0 or (windows is not None and len(windows) != len(wanted)):
        raise InputError(
            f"reconstruct: counts must be 0 or more for every window, got {len(wanted)} counts"
            f"{'' if windows is None else f' of {len(windows)} windows'}."
        )
    if prompts is not None and len(prompts) == len(wanted) > 1:
        each = [
            reconstruct(
                *(model, None if windows is None else windows[w : w + 1], [count]),
                search=search,
                prompts=[prompts[w]],
            )
            for w, count in enumerate(wanted)
        ]
        return Story(tuple(one.text for one in each), sum(one.score for one in each))
    if prompts is not None and len(prompts) != len(wanted):
        raise InputError(
            f"reconstruct: prompts must be one for each of {len(wanted)} windows, got "
            f"{len(prompts)}."
        )
    with evaluating(model):
        starts = WordStarts(model.text_tokenizer, model.llm, model.device)
        before = " ".join(prompts[0].split()) if prompts is not None else ""
        known = (
            tuple(model.text_tokenizer.encode(before, add_special_tokens=False)) if before else ()
        )
        paths = [_Path(known, given=len(known))]
        for w, count in enumerate(wanted):
            if count:
                own = None if windows is None else windows[w : w + 1].to(model.device)
                paths = _window(model, own, count, paths, starts, search)
            paths = [
                replace(path, words=0, length=0, ends=(*path.ends, len(path.tokens)))
                for path in paths
            ]
    best = max(paths, key=lambda path: path.score(search.length_penalty))
    texts = [
        model.text_tokenizer.decode(list(best.tokens[start:stop])).strip()
        for start, stop in zip((len(known), *best.ends), best.ends, strict=False)
    ]
    return Story(tuple(texts), best.score(search.length_penalty))


def _window(
    model: BrainLLM,
    window: Tensor | None,
    count: int,
    paths: list[_Path],
    starts: WordStarts,
    search: StorySearch,
) -> list[_Path]:
    """Extend the paths by `count` words and return the best ones."""
    stepper, logits = _opened(model, window, count, paths, search)
    running = [replace(p, row=i) for i, p in enumerate(paths)]
    done: list[_Path] = []
    while True:
        pool = list(done)
        last = torch.tensor([p.words == count for p in running], device=logits.device)
        fresh = torch.tensor(
            [p.words == 0 or p.length >= search.longest_word for p in running],
            device=logits.device,
        )
        ends, values, ids = starts.proposals(logits, last, fresh, search.candidates)
        for row, path in enumerate(running):
            if path.words == count:
                pool.append(replace(path, total=path.total + ends[row], row=-1))
            pool += _extended(path, row, values[row], ids[row], starts, search)
        pool.sort(key=lambda path: -path.score(search.length_penalty))
        done = [path for path in pool[: search.beams] if path.row < 0]
        running = [path for path in pool[: search.beams] if path.row >= 0]
        if not running:
            return done
        stepper.reorder(torch.tensor([p.row for p in running], device=logits.device))
        logits = stepper.step(torch.tensor([p.tokens[-1] for p in running], device=logits.device))


def _opened(
    model: BrainLLM,
    window: Tensor | None,
    count: int,
    paths: list[_Path],
    search: StorySearch,
) -> tuple[_Stepper, Tensor]:
    """Prefill brain and context of every path; return the stepper and the next logits."""
    width = min(search.context, max(len(path.tokens) for path in paths))
    pad = model.text_tokenizer.pad_token_id
    rows = [list(p.tokens[max(0, len(p.tokens) - width) :]) for p in paths]
    ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows], dtype=torch.long)
    mask = torch.tensor([[i >= width - len(r) for i in range(width)] for r in rows])
    prefix = model.no_brain(1) if window is None else model.prefix(window)
    bias = None if window is None else model.logit_bias(window)
    before, before_mask = model.before_text(
        prefix.expand(len(paths), -1, -1),
        ids.to(model.device).reshape(len(paths), width),
        prompt_mask=mask.to(model.device).reshape(len(paths), width),
    )
    model.check_room(before.shape[1], count * search.longest_word)
    if before_mask is None:
        before_mask = before.new_ones(before.shape[:2])
    own = None if bias is None else bias.expand(len(paths), -1)
    stepper = _Stepper(model.llm, before_mask.long(), own, function="reconstruct")
    return stepper, stepper.prefill(before)


def _extended(
    path: _Path,
    row: int,
    values: list[float],
    ids: list[int],
    starts: WordStarts,
    search: StorySearch,
) -> list[_Path]:
    """Likeliest extensions of a path by one token."""
    recent = set(path.tokens[max(0, len(path.tokens) - search.recent) :])
    scored = [
        (value * search.repetition_penalty if token in recent else value, token)
        for value, token in zip(values, ids, strict=True)
        if value > -torch.inf
    ]
    scored.sort(key=lambda pair: -pair[0])
    found = []
    for value, token in scored[: search.extensions]:
        begins = starts.begins(token)
        found.append(
            replace(
                path,
                tokens=(*path.tokens, token),
                total=path.total + value,
                words=path.words + begins,
                length=1 if begins else path.length + 1,
                row=row,
            )
        )
    return found

"""Windows decoded one by one are those of ``fastbrain decode``."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_run import PROMPT

from fastbrain.decoding import DecodeEngine, Sampling
from fastbrain.errors import InputError
from fastbrain.inference import decode
from fastbrain.realtime.session import open_decoder, open_window_decoder, run_engine
from fastbrain.realtime.session.run_engine import RunEngine
from fastbrain.realtime.session.text_scorer import EngineScorer
from fastbrain.realtime.session.text_writer import EngineWriter
from fastbrain.realtime.session.window_decoder import Stopped

SYSTEMS = ("llm4brain", "brainllm")
ROUNDING = 2e-4  # nats: margins of decode are rounded to four digits, and batches sum otherwise
PHRASES = ("it is a ball now", "it is the tree", "cake")


class Ear:
    """Keeps what it hears."""

    def __init__(self, *, stop_after: int = 10**6, hurried: bool = False) -> None:
        self.heard: list[tuple[str, str]] = []
        self.asked, self.stop_after, self.hurried = 0, stop_after, hurried

    def word(self, text):
        self.heard.append(("word", text))

    def sentence(self, text):
        self.heard.append(("sentence", text))

    def stops(self):
        self.asked += 1
        return self.asked > self.stop_after

    def hurries(self):
        return self.hurried


@pytest.fixture(params=[True, False], ids=["engine", "generate"])
def engine(request, monkeypatch):
    """Whether the decode engine can run the language model."""
    if not request.param:
        monkeypatch.setattr(DecodeEngine, "can_run", lambda llm: "it is not of a kind")
    return request.param


@pytest.mark.parametrize("system", SYSTEMS)
def test_texts_and_margins_are_those_of_decode(runs, store, system, engine):
    offline = decode(runs[system])
    decoder = open_window_decoder(runs[system])
    decoder.warm_up()
    for window in offline.windows[:6]:
        ear = Ear()
        said = decoder.decode(store.window(window.trial_id), ear)
        assert said.text == window.text
        assert ear.heard == [("word", window.text.split()[0]), ("sentence", window.text)]
        assert said.margin_no_brain == pytest.approx(window.margin_no_brain, abs=ROUNDING)
        assert 0 < said.confidence <= 1


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_first_word_comes_before_the_sentence(runs, store, system, engine):
    decoder = open_window_decoder(runs[system], sampling=Sampling(min_new_tokens=6))
    trial = store.split.test[0]
    ear = Ear(stop_after=5)
    with pytest.raises(Stopped):
        decoder.decode(store.window(trial), ear)
    assert [kind for kind, _ in ear.heard] == ["word"]
    assert isinstance(decoder.writer, EngineWriter) is engine
    if not engine:
        assert not decoder.writer.llm._forward_pre_hooks


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("prompt", ["", "what is it ?"])
def test_phrases_are_ranked_by_what_the_window_adds(runs, store, system, prompt):
    decoder = open_window_decoder(runs[system], phrases=PHRASES, prompt=prompt)
    found = decoder.decode(store.window(store.split.test[0]), Ear()).ranked
    assert sorted(phrase for phrase, _ in found) == sorted(PHRASES)
    margins = [margin for _, margin in found]
    assert margins == sorted(margins, reverse=True)
    again = decoder.decode(store.window(store.split.test[1]), Ear()).ranked
    assert again != found


@pytest.fixture
def prompt_before_brain(monkeypatch):
    """Let the models read the prompt first, so that the engine has it as a prefix."""

    def patched(name, part, **changes):
        load = getattr(open_decoder, name)

        def loaded(*args, **options):
            found = load(*args, **options)
            model = part(found)
            model.config = replace(model.config, **changes)
            return found

        monkeypatch.setattr(open_decoder, name, loaded)

    patched("open_model", lambda found: found, prompt_first=True)
    patched("load_brainllm", lambda found: found.model, position="after-prompt")


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_engine_scores_after_a_shared_prompt(
    prompt_before_brain, runs, store, monkeypatch, capsys, system
):
    _scores_agree(runs[system], store, monkeypatch, capsys, prompt="what is it ?")


@pytest.mark.parametrize("control", [True, False])
@pytest.mark.parametrize("prompt", ["", "what is it ?"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_engine_scores_what_the_decoder_scores(
    runs, store, monkeypatch, capsys, system, prompt, control
):
    _scores_agree(runs[system], store, monkeypatch, capsys, prompt=prompt, control=control)


def _scores_agree(run, store, monkeypatch, capsys, **options):
    options = {"phrases": (*PHRASES, "it is"), **options}
    windows = [store.window(trial) for trial in store.split.test[:3]]
    by_engine = open_window_decoder(run, **options)
    assert isinstance(by_engine.scorer, EngineScorer)
    assert "note" not in capsys.readouterr().err
    found = [by_engine.decode(window, Ear()) for window in windows]
    monkeypatch.setattr(DecodeEngine, "can_run", lambda llm: "it is not of a kind")
    by_decoder = open_window_decoder(run, **options)
    noted = "written and scored without the decode engine, which is slower: it is not of a kind"
    assert noted in capsys.readouterr().err
    expected = [by_decoder.decode(window, Ear()) for window in windows]
    for one, other in zip(found, expected, strict=True):
        assert one.text == other.text
        assert dict(one.ranked) == pytest.approx(dict(other.ranked), abs=ROUNDING)
        assert one.confidence == pytest.approx(other.confidence, abs=ROUNDING)
        assert one.margin_no_brain == pytest.approx(other.margin_no_brain, abs=ROUNDING)
    assert len({one.ranked for one in found}) == 3


def test_a_hurried_decoder_leaves_out_the_control(runs, store):
    decoder = open_window_decoder(runs["llm4brain"], phrases=PHRASES)
    said = decoder.decode(store.window(store.split.test[0]), Ear(hurried=True))
    assert said.text
    assert (said.confidence, said.margin_no_brain, said.ranked) == (None, None, ())


def test_the_prompt_is_that_of_the_run_by_default(runs, store):
    window = store.window(store.split.test[0])
    texts = [
        open_window_decoder(runs["llm4brain"], prompt=prompt).decode(window, Ear())
        for prompt in ("", PROMPT)
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_beam_has_its_first_word_with_the_sentence(runs, store, system, engine):
    decoder = open_window_decoder(runs[system], sampling=Sampling(method="beam", beams=2))
    ear = Ear()
    said = decoder.decode(store.window(store.split.test[0]), ear)
    assert ear.heard == [("word", said.text.split()[0]), ("sentence", said.text)]


def test_another_window_is_refused(runs):
    decoder = open_window_decoder(runs["llm4brain"])
    with pytest.raises(InputError, match="window must be"):
        decoder.decode(np.zeros((1, 2, 3), dtype=np.int16), Ear())


def test_an_empty_phrase_is_refused(runs):
    with pytest.raises(InputError, match="phrases must hold words"):
        open_window_decoder(runs["llm4brain"], phrases=("a", " "))


def test_a_run_of_vqlm_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "manifest.json").write_text('{"kind": "vq-lm"}')
    with pytest.raises(InputError, match="got one of vq-lm"):
        open_window_decoder(tmp_path)


def test_a_prompt_that_could_not_be_read_is_not_left_out_next_time(monkeypatch):
    made = []

    class Engine:
        def __init__(self, *_, **__) -> None:
            made.append(self)

        def prefix(self, *_, **__) -> None:
            raise InputError("no")

    monkeypatch.setattr(run_engine, "DecodeEngine", Engine)
    opening = SimpleNamespace(prompt_ids=[3, 4], embeds=np.zeros((1, 2, 4)))
    decoder = SimpleNamespace(opening=lambda _: opening, read_nothing=lambda: None)
    engine = RunEngine(decoder, SimpleNamespace(config=None), None, most_tokens=9)
    for _ in range(2):
        with pytest.raises(InputError, match="no"):
            engine.ready(opening)
    assert len(made) == 2

"""Stories of another store: what training used is not scored."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from fastbrain.errors import LeakError
from fastbrain.evaluation import changed_store
from fastbrain.inference import decode_story

pytestmark = pytest.mark.slow


def test_a_window_without_a_text_does_not_stop_the_audit(trained, monkeypatch):
    store = trained.store
    run = store.by_id[store.split.train[0]].run_id
    first, *others = store.trials
    trials = [replace(first, text=""), *others]
    given = replace(changed_store(store, "as it is", lambda _, run: run), trials=trials)
    module = sys.modules["fastbrain.inference.decode_story"]
    monkeypatch.setattr(module, "_stores", lambda *_: (store, given))
    with pytest.raises(LeakError):
        decode_story(trained.run("brainllm"), run)

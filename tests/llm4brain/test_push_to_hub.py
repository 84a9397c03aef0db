"""Models on the hub: what is uploaded, what the card says, what is refused on the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import huggingface_hub as hub
import numpy as np
import pytest
import torch
from fake_hub import hub_in
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from nonzero_adapters import nonzero_lora

from fastbrain import TokenGrid
from fastbrain.errors import CheckpointError, InputError
from fastbrain.llm4brain import ModelCard, from_pretrained, push_to_hub, save_pretrained
from fastbrain.lm.lora import TunedLLM

# the sum of two products against the product with the sum, float32
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
CARD = ModelCard(
    llm="meta-llama/Llama-3.2-1B",
    tr=2.0,
    fingerprint="0123abcd",
    prompt="What | happens?",
    preprocessing={"units": "psc", "window": {"delay_s": 4.0, "window_trs": 2}},
    split={"keys": ["subject"], "train": ["a_1", "a_2"], "val": ["a_3"], "test": ["b_1"]},
    training={
        "adaptation": "transductive",
        "stages": ["video", "stage1"],
        "audit": {"clean": False, "allowed": "a test", "findings": [{}]},
        "weights": {"encoder_weights": {"file": "mbm.safetensors", "sha256": "feed"}},
        "cohort": {
            "people": {"train": 2, "val": 1, "test": 1},
            "people_in_all": 3,
            "runs": 8,
            "volumes": 12345,
            "fit_runs": 5,
        },
        "llm_license": "llama3.2",
    },
)
SCORES = [
    {"metric": "bleu1", "mode": "free", "value": 0.2345, "n": 16, "chance": 0.1234,
     "control": "deranged brain", "p": 0.0099, "interval": {"low": 0.2, "high": 0.3, "level": 0.95},
     "signature": "", "group": "", "adjusted": None, "effect": None},
    {"metric": "words", "mode": "free", "value": 7.0, "n": 16, "chance": None, "control": "",
     "p": None, "interval": None, "signature": "", "group": "subject b", "adjusted": None,
     "effect": None},
]  # fmt: skip


@pytest.fixture
def saved(make_model, tmp_path):
    model = make_model(scale=0.25)
    return model, save_pretrained(model, tmp_path / "model", CARD)


@pytest.fixture
def remote(monkeypatch, tmp_path):
    return hub_in(tmp_path / "remote", monkeypatch)


def test_a_model_goes_and_comes_back(saved, remote, voxels, tmp_path):
    model, folder = saved
    # what lies beside it stays here
    (folder / "optimizer.safetensors").write_bytes(b"")
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps({"scores": SCORES, "n": 16}))
    address = push_to_hub(folder, "lab/model", metrics=metrics, license="cc-by-nc-4.0", token="t")
    assert address == "https://hub/lab/model/commit/1"
    assert remote.created == ["lab/model"]
    assert remote.token == "t"
    assert sorted(p.name for p in remote.folder.iterdir()) == [
        "README.md", "config.json", "grid.safetensors", "manifest.json", "model.safetensors",
    ]  # fmt: skip
    again = from_pretrained("lab/model", llm=(model.llm, None), revision="v1")
    assert remote.asked == [("lab/model", "v1", False)]
    assert again.card == CARD
    assert torch.equal(again.prefix(voxels), model.prefix(voxels))
    assert torch.equal(again.tokenizer.mean, model.tokenizer.mean)


def test_the_adapter_of_a_tuned_language_model_goes_along(
    make_model, make_llm, remote, voxels, tmp_path
):
    model = make_model()
    model.tuned = TunedLLM(model.llm, 2)
    nonzero_lora(model.llm)
    folder = save_pretrained(model, tmp_path / "model", CARD)
    push_to_hub(folder, "lab/model")
    again = from_pretrained("lab/model", llm=(make_llm("llama"), None))
    ids = torch.arange(6)[None]
    tuned = model.llm(ids).logits
    torch.testing.assert_close(again.llm(ids).logits, tuned, **CLOSE)
    assert not torch.allclose(make_llm("llama")(ids).logits, tuned, **CLOSE)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="adapter_model"):
        push_to_hub(folder, "lab/model")


def test_the_card_says_what_it_is_worth(saved, remote, tmp_path):
    _, folder = saved
    before = (folder / "README.md").read_text()
    assert "Not evaluated" in before
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps({"scores": SCORES}))
    push_to_hub(folder, "lab/model", metrics=metrics, license="cc-by-nc-4.0")
    text = (remote.folder / "README.md").read_text()
    head = text.split("---")[1]
    assert 'license: "cc-by-nc-4.0"' in head
    assert 'base_model: "meta-llama/Llama-3.2-1B"' in head
    assert '"brain-decoding"' in head
    row = "| bleu1 | free | 0.234 | 0.200 to 0.300 | 0.123 | deranged brain | 0.0099 | 16 |"
    assert row in text
    assert "| words, subject b | free | 7.000 |  |  | none |  | 16 |" in text
    for said in (
        "| TR | 2 s |", "| window | 2 volumes from 4 s after onset |", "| store | 0123abcd |",
        "| windows | 2 train, 1 val, 1 test |", "| held out | subject |",
        "| adaptation | transductive |", "1; allowed because: a test", "mbm.safetensors, feed",
        "Not a medical device", "Do not use it on anyone without consent", "not a mind reader",
        "| people | 3: 2 train, 1 val, 1 test; one may be in several parts |",
        "| recordings | 8 runs, 12,345 volumes |",
        "| voxel statistics fitted on | training windows of 5 runs |",
        "| license of the language model | llama3.2 |", 
        r"`What \| happens?`",
    ):  # fmt: skip
        assert said in text, said


def test_a_local_language_model_keeps_its_path_to_itself(make_model, tmp_path):
    card = replace(CARD, llm=str(tmp_path / "secret" / "llm-7b"))
    text = (save_pretrained(make_model(), tmp_path / "m", card) / "README.md").read_text()
    assert "base_model" not in text
    assert "a text is the guess of a model" in " ".join(text.split())
    assert "llm-7b, a local folder" in text
    assert "secret" not in text


def test_nothing_damaged_is_uploaded(saved, remote):
    _, folder = saved
    whole = bytearray((folder / "model.safetensors").read_bytes())
    whole[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(whole))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        push_to_hub(folder, "lab/model")
    assert not remote.created


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OfflineModeIsEnabled("no"), "HF_HUB_OFFLINE is set. Nothing was uploaded: un"),
        (
            type("ConnectError", (type("TransportError", (Exception,), {}),), {})("no\nname"),
            r"got no connection \(ConnectError: no name\). Nothing was uploaded: run this again",
        ),
        (ConnectionError("reset"), r"got no connection \(ConnectionError: reset\)"),
        (TimeoutError("late"), r"got no connection \(TimeoutError: late\)"),
        (ValueError("401"), r"must take 'lab/model', got ValueError: 401. Look at the name and"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_the_hub_refuses_is_an_error_of_one_line(saved, monkeypatch, error, message):
    def refuse(*args, **options):
        raise error

    monkeypatch.setattr(hub, "HfApi", lambda token: SimpleNamespace(create_repo=refuse))
    before = sorted(saved[1].parent.rglob("*"))
    with pytest.raises(InputError, match=message) as caught:
        push_to_hub(saved[1], "lab/model")
    assert "\n" not in str(caught.value)
    assert sorted(saved[1].parent.rglob("*")) == before


def test_a_model_on_the_hub_has_an_owner(saved, remote):
    with pytest.raises(InputError, match="name must be owner/model, got 'model'"):
        push_to_hub(saved[1], "model")
    assert not remote.created


def test_metrics_must_be_ours(saved, remote, tmp_path):
    (tmp_path / "metrics.json").write_text('{"scores": [{"metric": "bleu1", "value": 1}]}')
    with pytest.raises(InputError, match=r"metrics\.json"):
        push_to_hub(saved[1], "lab/model", metrics=tmp_path / "metrics.json")
    assert not remote.created


def test_another_grid_or_repetition_time_is_refused(saved, grid):
    model, folder = saved
    llm = (model.llm, None)
    same = TokenGrid(grid.mask.copy(), grid.kernel, grid.stride, grid.kept.copy())
    from_pretrained(folder, llm=llm, grid=same, tr=2.0)
    mask = grid.mask.copy()
    mask[4, 6, 5] = False
    other = TokenGrid.from_mask(mask, grid.kernel)
    # as many tokens as before: shapes alone would not tell
    assert np.array_equal(other.kept, grid.kept)
    with pytest.raises(CheckpointError, match="grid must be the one of training"):
        from_pretrained(folder, llm=llm, grid=other)
    with pytest.raises(CheckpointError, match=r"tr must be the 2 s of training, got 1.5 s"):
        from_pretrained(folder, llm=llm, tr=1.5)


def test_a_name_that_is_not_on_the_hub_is_an_error_of_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    def offline(*_args, **_options):
        raise LocalEntryNotFoundError("cannot find it\nlong story")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    message = "a name on the hub, got neither: cannot find it"
    with pytest.raises(CheckpointError, match=message) as caught:
        from_pretrained("nobody/nothing")
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="must be a saved model"):
        from_pretrained(tmp_path / "gone")

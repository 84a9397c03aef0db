"""Models of transformers: no code of theirs runs, no pickle is read, weights are fetched last."""

from __future__ import annotations

import ast
import builtins
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

import fastbrain
from fastbrain.cli import main
from fastbrain.errors import FastbrainError, InputError
from fastbrain.llm4brain import ModelCard, from_pretrained, load_vision_model, save_pretrained
from fastbrain.lm import load_llm, vector_llm
from fastbrain.lm.chat import load_video_llm
from fastbrain.lm.sentence_embeddings import sentence_embeddings
from fastbrain.lm.sources import find_model, load_weights_of

LOADERS = {
    "load_llm": load_llm,
    "load_vision_model": load_vision_model,
    "load_video_llm": load_video_llm,
    "sentence_embeddings": lambda path: sentence_embeddings(["a text"], path),
    "vector_llm": lambda path: vector_llm(["a"], ["b"], encoder=path),
    "find_model": lambda path: find_model(path, function="test"),
}
# what transformers would import, were it allowed to
EVIL = "import pathlib; pathlib.Path({marker!r}).write_text('ran')\nclass Evil: pass\n"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "cat"]


@pytest.fixture(autouse=True)
def no_prompt(monkeypatch):
    """A question on the terminal fails the test; so does a connection."""

    def refuse(*_args):
        raise AssertionError("a prompt was shown")

    monkeypatch.setattr(builtins, "input", refuse)
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A whole sentence encoder, tiny."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(WORDS), intermediate_size=8, **sizes)).save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def folder(encoder, tmp_path):
    return Path(shutil.copytree(encoder, tmp_path / "model"))


def change(path: Path, **entries) -> None:
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | entries))


AUTO_MAP = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": "evil.Evil"}


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("config.json", {"auto_map": AUTO_MAP}),
        ("config.json", {"model_type": "evil", "auto_map": AUTO_MAP}),
        ("config.json", {"text_config": {"auto_map": AUTO_MAP}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.Evil"}}),
        ("config.json", {"attn_implementation": "owner/kernels"}),
        ("adapter_config.json", {"base_model_name_or_path": "owner/model"}),
    ],
)
def test_a_model_with_code_of_its_own_is_refused_unasked(folder, tmp_path, name, file, entries):
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    change(folder / file, **entries)
    with pytest.raises(InputError, match=r"code of its own|an adapter"):
        LOADERS[name](str(folder))
    assert not marker.exists()
    assert not [m for m in sys.modules if m.endswith(".evil")]


def test_a_shared_model_that_names_such_a_language_model_is_refused(make_model, folder, tmp_path):
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    change(folder / "config.json", auto_map=AUTO_MAP)
    shared = save_pretrained(make_model(), tmp_path / "shared", ModelCard(str(folder), 2.0))
    with pytest.raises(FastbrainError, match="code of its own"):
        from_pretrained(shared)
    assert not marker.exists()


@pytest.mark.parametrize("name", LOADERS)
def test_weights_in_a_pickle_are_never_read(folder, name, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(torch, "load", refuse)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"no model\.safetensors but pytorch_model\.bin, a pickle.*"
                                         r"fastbrain convert"):  # fmt: skip
        LOADERS[name](str(folder))


def test_a_converted_pickle_is_the_same_model(encoder, folder):
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    command = ["convert", str(folder / "pytorch_model.bin"), str(folder / "model.safetensors")]
    assert main(command) == 0
    # what is there is not replaced
    assert main(command) == 1
    ours, theirs = (sentence_embeddings(["dog cat"], str(f)) for f in (folder, encoder))
    assert (ours == theirs).all()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"\xff\xfe"),
        ("config.json", b"[" * 3000),
        ("config.json", b"[]"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}"),
        ("model.safetensors", b""),
        ("tokenizer.json", b"{}"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "../../b.safetensors"}}'),
        ("model.safetensors.index.json", b'{"weight_map": {"a": 3}}'),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "other.safetensors"}}'),
        ("model.safetensors.index.json", b"{}"),
    ],
)
def test_a_damaged_model_is_an_error_of_ours(folder, file, content):
    (folder / file).write_bytes(content)
    with pytest.raises(InputError):
        sentence_embeddings(["dog"], str(folder))


@pytest.mark.parametrize("evil", [True, False])
def test_a_hub_model_is_checked_before_its_weights_are_fetched(folder, tmp_path, monkeypatch, evil):
    hub = pytest.importorskip("huggingface_hub")
    snapshot = tmp_path / "snapshots" / ("c0ffee" * 6)
    asked = []

    def download(name, *, revision, allow_patterns):
        asked.append((name, revision, tuple(allow_patterns)))
        snapshot.mkdir(parents=True, exist_ok=True)
        for pattern in allow_patterns:
            for file in folder.glob(pattern):
                shutil.copy(file, snapshot)
        return str(snapshot)

    monkeypatch.setattr(hub, "snapshot_download", download)
    if evil:
        change(folder / "config.json", auto_map=AUTO_MAP)
        with pytest.raises(InputError, match="'lab/model' must not bring code"):
            find_model("lab/model", function="test")
        assert not (snapshot / "model.safetensors").exists()
        return
    found = find_model("lab/model", function="test", revision="v1")
    assert (found.name, found.revision) == ("lab/model", snapshot.name)
    # the second request names the commit of the first: a branch may move in between
    assert [row[:2] for row in asked] == [("lab/model", "v1"), ("lab/model", snapshot.name)]
    assert not any(p.endswith((".py", ".bin")) for row in asked for p in row[2])
    model = load_weights_of(found)
    assert model.config._commit_hash == snapshot.name
    assert set(found.digests()) == {p.name for p in snapshot.iterdir()}


def test_only_one_module_loads_models_of_transformers():
    package = Path(fastbrain.__file__).parent
    root = package.parent
    files = [*package.glob("**/*.py"), *root.glob("examples/[a-z]*.py"), *root.glob("studies/*.py")]
    found = {
        str(path.relative_to(package.parent))
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("from_pretrained", "from_config")
    }
    # the others read a configuration, one of an adapter too, or build an empty model from one
    empty = {f"fastbrain/lm/{name}.py" for name in ("description", "loading", "lora")}
    assert found == {"fastbrain/lm/sources.py", *empty}


def test_every_load_says_that_no_code_may_run(folder, monkeypatch):
    """The second line of defence: what the check does not see, transformers still refuses."""
    import transformers

    from fastbrain.lm import sources

    calls = [
        node
        for node in ast.walk(ast.parse(Path(sources.__file__).read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "from_pretrained"
    ]
    assert len(calls) == 1  # every load goes through it
    seen = {}

    def watched(name):
        real = getattr(transformers, name).from_pretrained

        def load(*arguments, **options):
            seen[name] = options
            return real(*arguments, **options)

        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", load)

    for name in ("AutoModel", "AutoTokenizer"):
        watched(name)
    sentence_embeddings(["dog"], str(folder))
    assert {name: o["trust_remote_code"] for name, o in seen.items()} == {
        "AutoModel": False,
        "AutoTokenizer": False,
    }
    assert all(options["local_files_only"] for options in seen.values())
    assert seen["AutoModel"]["use_safetensors"]

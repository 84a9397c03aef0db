"""An encoder of the user in place of SC-MBM: protocol, trust, and digest of its source."""

from __future__ import annotations

import sys
from dataclasses import replace

import process_cases
import pytest
import torch

from fastbrain.errors import CheckpointError, ConfigError
from fastbrain.llm4brain import CustomEncoder, custom_encoder
from fastbrain.llm4brain.saving import ModelCard, from_pretrained, save_pretrained
from fastbrain.llm4brain.training import RunConfig, VideoLatents, preset, stage_one

SOURCE = """
import torch

class Mixer(torch.nn.Module):
    def __init__(self, tokens, dim, steps, centers_mm, width=6, **wrong):
        super().__init__()
        assert centers_mm.shape == (tokens, 3)
        self.mix = torch.nn.Linear(tokens * steps, 5)
        self.map = torch.nn.Linear(dim, width)
        self.out_tokens, self.out_dim = 5, width
        self.wrong = wrong
        vars(self).update(wrong.get("set", {}))

    def forward(self, tokens):
        out = self.map(self.mix(tokens.transpose(1, 2)).transpose(1, 2)).tanh()
        if "nan" in self.wrong:
            out = out / 0 * 0
        if "cut" in self.wrong:
            out = self.map.bias.expand(len(tokens), 5, -1)
        if "raise" in self.wrong:
            raise RuntimeError("no such token")
        return out.detach() if "detach" in self.wrong else out

class Nothing:
    def __init__(self, **_):
        pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Name of a new module of the user that is not trusted yet."""
    name = f"lab_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(custom_encoder, "_trusted", set())
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def trusted(module):
    for name in ("Mixer", "Nothing", "Absent"):
        custom_encoder.trust_encoder(f"{module}:{name}")
    return module


def build(name, **arguments):
    custom = CustomEncoder(name, arguments)
    return custom_encoder.build_encoder(
        custom, dim=12, steps=1, centers_mm=torch.zeros(7, 3, dtype=torch.float64)
    )


def test_code_is_not_imported_before_the_user_has_named_it(module):
    with pytest.raises(ConfigError, match="must be named by you before its code is run"):
        build(f"{module}:Mixer")
    assert module not in sys.modules
    custom_encoder.trust_encoder(f"{module}:Mixer")
    assert build(f"{module}:Mixer", width=3).out_dim == 3


def test_trying_it_out_leaves_random_numbers_alone(trusted):
    module = build(f"{trusted}:Mixer")
    before = torch.get_rng_state()
    custom_encoder._try_out(CustomEncoder("a:B"), module, (2, 7, 12))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("Absent", {}, "be a class of a Python file that can be imported"),
        ("Nothing", {}, "be a torch.nn.Module, got Nothing"),
        ("Mixer", {"width": "x"}, "be built from tokens, dim, steps"),
        ("Mixer", {"set": {"out_dim": 0}}, "have a positive integer out_dim, got 0"),
        ("Mixer", {"set": {"out_tokens": 6}}, "return (2, out_tokens, out_dim) = (2, 6, 6)"),
        ("Mixer", {"nan": 1}, "return finite floats"),
        ("Mixer", {"raise": 1}, "got RuntimeError: no such token"),
        ("Mixer", {"detach": 1}, "pass gradients to its tokens"),
        ("Mixer", {"cut": 1}, "pass finite gradients to its tokens"),
    ],
)
def test_what_does_not_keep_to_the_protocol_is_refused(kind, arguments, said, trusted):
    with pytest.raises(ConfigError) as found:
        build(f"{trusted}:{kind}", **arguments)
    assert said in str(found.value)


@pytest.mark.parametrize("name", ["Mixer", "a.b", "a:b:c", "../a:B", "a:B()", ":B", "a b:C"])
def test_what_is_no_name_of_a_class_is_refused(name):
    with pytest.raises(ConfigError, match=r"package\.module:Class"):
        CustomEncoder(name)


def test_stages_that_train_scmbm_are_refused(module):
    name = f"{module}:Mixer"
    config = RunConfig().with_encoder(name, {"width": 4})
    assert "encoder" in config.stage2.groups
    assert "encoder_adapters" not in config.stage2.groups
    assert RunConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="pretrain must be None with"):
        replace(config, pretrain=preset("pretrain"))
    with pytest.raises(ConfigError, match="encoder_weights must be None"):
        replace(config, encoder_weights="w.safetensors")


def test_a_model_trains_is_saved_and_opened_by_name(trusted, tmp_path):
    custom = CustomEncoder(f"{trusted}:Mixer", {"width": 6})
    model = process_cases.llm4brain(custom_encoder=custom)
    assert model.config.custom_encoder.source
    before = model.encoder.map.weight.clone()
    rows = {f"t-{i}": i for i in range(9)}
    targets = VideoLatents(rows, torch.randn(9, 3, 12))
    groups = ("tokenizer", "encoder", "bridge")
    stage = replace(process_cases.stage("stage1", epochs=1), groups=groups)
    loader = process_cases.Windows(9, batch_size=4)
    stage_one(model, loader, targets, stage, run_dir=tmp_path / "run")
    assert not torch.equal(model.encoder.map.weight, before)

    folder, llm = tmp_path / "model", (model.llm, model.text_tokenizer)
    save_pretrained(model, folder, ModelCard("none", 2.0))
    opened = from_pretrained(folder, llm=llm)
    voxels = process_cases.Windows(2, batch_size=2)._batch([0, 1]).voxels
    with torch.no_grad():
        assert torch.equal(opened.prefix(voxels), model.eval().prefix(voxels))
    custom_encoder._trusted.clear()
    with pytest.raises(ConfigError, match=f"--trust-encoder {trusted}:Mixer"):
        from_pretrained(folder, llm=llm)
    custom_encoder.trust_encoder(f"{trusted}:Mixer")
    source = tmp_path / f"{trusted}.py"
    source.write_text(SOURCE + "# another version\n")
    with pytest.raises(CheckpointError, match="must be that of training"):
        from_pretrained(folder, llm=llm)
    source.unlink()
    del sys.modules[trusted]
    with pytest.raises(ConfigError, match="can be imported"):
        from_pretrained(folder, llm=llm)

"""LLM4Brain for several grids: what is shared, gradients, equality with one grid, files."""

from __future__ import annotations

import copy
from dataclasses import replace

import grids_in_memory
import numpy as np
import pytest
import torch
from grids_in_memory import GRIDS, SCALE, grid_models, layout

from fastbrain.errors import CheckpointError, ConfigError, InputError
from fastbrain.llm4brain import (
    EncoderConfig,
    GridModels,
    LLM4Brain,
    LLM4BrainConfig,
    ModelCard,
    QFormerConfig,
    VideoConfig,
    from_pretrained,
    load_grid_models,
    save_pretrained,
)
from fastbrain.llm4brain.grid_models import PER_TOKEN, reader
from fastbrain.llm4brain.training import VideoLatents, fit_readout, preset, stage_one
from fastbrain.llm4brain.training.grid_readouts import fit_grid_readouts
from fastbrain.training import OptimConfig

FP32 = {"rtol": 1e-5, "atol": 1e-5}  # gradients of a few batches, added in another order
SIZES = LLM4BrainConfig(
    frames=2,
    encoder=EncoderConfig(dim=12, depth=1, heads=2, decoder_dim=12, decoder_heads=2),
    qformer=QFormerConfig(dim=12, depth=1, heads=2, n_queries=3),
    video=VideoConfig(frames=2, size=8, patch=4, dim=12, depth=1, heads=2),
    bridge_tokens=5,
    readout_rank=4,
)


@pytest.fixture
def models(language):
    llm, tokenizer = language
    torch.manual_seed(3)
    # a test changes the precision of all parts, and the LLM belongs to every test
    found = grid_models(SIZES, copy.deepcopy(llm), tokenizer)
    for name in found.names:
        # zero until fitted, which would hide the readout
        torch.nn.init.normal_(found.part(name).readout.write.weight, std=0.1)
    return found.eval()


def batches(n=12, **options):
    return list(grids_in_memory.loader(n, shuffle=False, **options))


def alone(models, name, language):
    """A model of one grid with the weights of that grid."""
    i, own = list(GRIDS).index(name), GRIDS[name]
    llm, tokenizer = language
    model = LLM4Brain(
        SIZES, llm=llm, text_tokenizer=tokenizer, scale=SCALE, **vars(layout(own, seed=i))
    ).eval()
    model.load_state_dict(models.part(name).state_dict(), strict=True)
    return model


def test_what_has_no_weight_per_token_is_shared_and_saved_once(models):
    one, other = (dict(models.part(name).named_parameters()) for name in ("a", "b"))
    own = {name for name in one if one[name] is not other[name]}
    assert own == {name for name in one if name.startswith(PER_TOKEN)}
    assert any(name.startswith("bridge.mix") for name in own)
    state = models.state_dict()
    assert {k.removeprefix("parts.b.") for k in state if k.startswith("parts.b.")} == {
        *own,
        "tokenizer.mean",
        "tokenizer.inv_std",
    }
    assert not any(".llm." in k for k in state)
    models.to(torch.float64)
    shared = models.part("b").encoder.blocks
    assert models.part("a").encoder.blocks is shared
    assert models.part("a").tokenizer.weight is models.part("b").tokenizer.weight
    groups = models.parameter_groups()
    ids = [id(p) for group in groups.values() for _, p in group]
    assert len(ids) == len(set(ids)) == len(list(models.parameters()))
    assert sum(n.endswith("bridge.mix.weight") for n, _ in groups["bridge"]) == 2
    trained = models.set_trainable(("bridge",))
    assert {n for n, p in models.named_parameters() if p.requires_grad} == set(trained)
    assert all("bridge" in n for n in trained)


def test_each_grid_is_read_as_by_a_model_of_its_own(models, language):
    seen = set()
    for batch in batches():
        single = alone(models, batch.grid, language)
        wanted = single.prefix(batch.voxels, batch.subjects)
        found = reader(models, batch).prefix(batch.voxels, batch.subjects)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        seen.add(batch.grid)
    assert seen == set(GRIDS)


def test_gradients_of_shared_weights_add_up(models, language):
    total = {}
    models.set_trainable(("tokenizer", "bridge", "readout"))
    for batch in batches():
        single = alone(models, batch.grid, language)
        single.set_trainable(("tokenizer", "bridge", "readout"))
        for model in (single, reader(models, batch)):
            model.brain_latents(batch.voxels).square().sum().backward()
        for name, p in single.named_parameters():
            if p.grad is not None:
                key = f"{batch.grid}.{name}" if name.startswith(PER_TOKEN) else name
                total[key] = total.get(key, 0) + p.grad
    for name in models.names:
        for path, p in models.part(name).named_parameters():
            if p.requires_grad:
                key = f"{name}.{path}" if path.startswith(PER_TOKEN) else path
                torch.testing.assert_close(p.grad, total[key], **FP32)


class Fixed:
    """The same batches in every epoch, on the grids that are asked for."""

    def __init__(self, grids):
        self.batches = []
        rng = np.random.default_rng(0)
        shape = (4, 2, GRIDS["a"].n_tokens, GRIDS["a"].patch_voxels)
        for k, grid in enumerate(grids):
            ids = tuple(f"t-{4 * k + i}" for i in range(4))
            voxels = torch.from_numpy(rng.integers(-300, 300, shape, np.int16))
            self.batches.append((grid, voxels, ids))
        self.epoch = 0

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        from fastbrain.data.store.loader import Batch

        for grid, voxels, ids in self.batches:
            yield Batch(voxels, ids, ids, ("one",) * 4, torch.arange(4), grid=grid)
        self.epoch += 1

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


def test_equal_grids_train_as_one(language, tmp_path):
    llm, tokenizer = language
    same = layout(GRIDS["a"])
    config = replace(
        preset("stage1"), epochs=2, batch_size=4, optim=OptimConfig(lr=1e-2), keep_best=False
    )
    rows = {f"t-{i}": i for i in range(12)}
    targets = VideoLatents(rows, torch.randn(12, 3, 12, generator=torch.Generator().manual_seed(1)))
    shared = {"llm": llm, "text_tokenizer": tokenizer, "scale": SCALE}
    torch.manual_seed(5)
    single = LLM4Brain(SIZES, **vars(same), **shared)
    torch.manual_seed(5)
    joint = GridModels(SIZES, {"x": same, "y": same}, **shared)
    assert list(joint.alike()) == [("x", "y")]
    assert not [k for k in joint.state_dict() if k.startswith("parts.y.bridge")]
    found = [
        stage_one(model, Fixed(grids), targets, config, run_dir=tmp_path / name)
        for name, model, grids in (("one", single, ("",) * 3), ("two", joint, ("x", "y", "x")))
    ]
    assert [r["loss"] for r in found[0].rows] == [r["loss"] for r in found[1].rows]
    for name, wanted in single.state_dict().items():
        assert torch.equal(joint.part("y").state_dict()[name], wanted), name


def test_readouts_are_those_of_each_grid_alone(models, language):
    store = grids_in_memory.collection(24)
    ids = tuple(f"t-{i}" for i in range(24))
    object.__setattr__(store, "split", type("Split", (), {"train": ids}))
    rows = {t: i for i, t in enumerate(ids)}
    targets = VideoLatents(rows, torch.randn(24, 3, 12, generator=torch.Generator().manual_seed(1)))

    def load(chosen):
        from fastbrain.data import WindowLoader

        return WindowLoader(store, chosen, batch_size=4, shuffle=False)

    found = fit_grid_readouts(models, store, targets, load=load, memory_gb=1.0, predictions=True)
    assert list(found.fits) == ["a", "b"]
    assert [scope.name for scope in found.scopes] == ["readout of a", "readout of b"]
    assert len(found.latents.rows) == 24
    facts = found.facts()
    assert facts["windows"] == 24
    assert set(facts["grids"]) == {"a", "b"}
    for name in GRIDS:
        single = alone(models, name, language)
        own = tuple(t for t in ids if store.grid_of(t) == name)
        fit = fit_readout(single, load(own), targets)
        assert fit.alpha == found.fits[name].alpha
        assert fit.r2 == found.fits[name].r2
        torch.testing.assert_close(
            single.readout.state_dict(), models.part(name).readout.state_dict(), rtol=0, atol=0
        )
        for trial in own:
            row = found.latents.latents[found.latents.rows[trial]]
            assert torch.equal(row, fit.latents.latents[fit.latents.rows[trial]])


def test_saved_with_all_grids_and_opened_by_grid(models, language, tmp_path):
    grids = {
        name: {"store": f"store-{name}", "affine": np.eye(4).tolist(), "limits": {}}
        for name in GRIDS
    }
    card = ModelCard("small", 2.0, preprocessing={"units": "psc", "grids": grids})
    folder = save_pretrained(models, tmp_path / "model", card)
    everything = load_grid_models(folder, llm=language)
    for name, value in models.state_dict().items():
        assert torch.equal(everything.state_dict()[name], value)
    batch = next(b for b in batches() if b.grid == "b")
    wanted = models.part("b").prefix(batch.voxels)
    for how in ({"grid": GRIDS["b"]}, {"part": "b"}):
        one = from_pretrained(folder, llm=language, tr=2.0, **how)
        assert torch.equal(one.prefix(batch.voxels), wanted)
        assert one.card.fingerprint == "store-b"
        assert one.card.preprocessing == {"units": "psc", "limits": {}}
    # a grid is an ordinary model
    single = save_pretrained(one, tmp_path / "single", one.card)
    assert torch.equal(from_pretrained(single, llm=language).prefix(batch.voxels), wanted)
    assert "2: a (" in (folder / "README.md").read_text()
    with pytest.raises(InputError, match=r"part must say which grid .* a, b, got none"):
        from_pretrained(folder, llm=language)
    with pytest.raises(InputError, match="part must be a, b, got 'c'"):
        from_pretrained(folder, llm=language, part="c")
    with pytest.raises(CheckpointError, match=r"grid must be the one of training.*1 others"):
        from_pretrained(
            folder, llm=language, grid=GRIDS["a"].from_mask(np.ones((4, 4, 4)), (2,) * 3)
        )
    with pytest.raises(CheckpointError, match="must be of several grids"):
        load_grid_models(single, llm=language)


def test_refused(models, language):
    llm, tokenizer = language
    with pytest.raises(InputError, match=r"grid must be one of a, b, got ''"):
        models.part("")
    table = replace(SIZES, encoder=replace(SIZES.encoder, positions="table"))
    with pytest.raises(ConfigError, match="positions must be 'brain'"):
        grid_models(table, llm, tokenizer)

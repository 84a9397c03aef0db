"""One encoder for the grids of several people: shared weights, training, resuming."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from two_people import write_two_people

from fastbrain.data import (
    VoxelStore,
    WindowLoader,
    WindowSpec,
    plan_native_grids,
    split_by,
    token_centers,
    write_collection,
)
from fastbrain.errors import ConfigError, InputError
from fastbrain.llm4brain import EncoderConfig, load_scmbm
from fastbrain.llm4brain.encoder import MaskedAutoencoder
from fastbrain.llm4brain.grid_encoders import GridEncoders, GridLayout, tie_parameters
from fastbrain.llm4brain.standalone_encoder import BrainEncoder
from fastbrain.llm4brain.training import preset
from fastbrain.llm4brain.training.grid_voxels import MaskedGridVoxels
from fastbrain.llm4brain.training.pretrain_encoder import ScmbmConfig, train_scmbm
from fastbrain.nn.positions import brain_positions

SIZES = EncoderConfig(dim=24, depth=1, heads=2, decoder_dim=12, decoder_heads=2)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    root = tmp_path_factory.mktemp("two-people")
    plan = plan_native_grids(
        write_two_people(root / "cohort"),
        window=WindowSpec(4.0, 2),
        kernel=(3, 3, 3),
        high_pass_s=None,
        split=lambda t: split_by(t, "run", train=["01"], val=["02"], test=["03"]),
    )
    return write_collection(plan, root / "all")


@pytest.fixture
def encoders(collection):
    torch.manual_seed(0)
    return GridEncoders.of(collection, SIZES)


def batches(collection, part="train", **options):
    ids = collection.split.part(part)
    return list(WindowLoader(collection, ids, batch_size=4, shuffle=False, **options))


def alone(collection, encoders, name):
    """An encoder of one grid with the weights of all."""
    store = collection.stores[name]
    model = BrainEncoder(
        SIZES,
        grid=store.grid,
        frames=2,
        centers_mm=token_centers(store),
        mean=store.mean,
        inv_std=store.inv_std,
        scale=store.scale,
    )
    model.load_state_dict(
        {**model.state_dict(), **dict(encoders.first.named_parameters())}, strict=True
    )
    return model


def test_a_grid_is_encoded_as_by_an_encoder_of_its_own(collection, encoders):
    sizes = set()
    for name, store in collection.stores.items():
        single = alone(collection, encoders, name)
        voxels = torch.tensor(np.stack([store.window(i) for i in store.split.train[:2]]))
        torch.testing.assert_close(encoders.part(name)(voxels), single(voxels), rtol=0, atol=0)
        code = brain_positions(token_centers(store), SIZES.dim)
        torch.testing.assert_close(encoders.part(name).encoder.positions, code)
        sizes.add(store.grid.n_tokens)
    assert len(sizes) == 2


def test_weights_are_shared_and_saved_once(encoders):
    parts = list(encoders.parts.values())
    for (name, one), (other_name, other) in zip(
        parts[0].named_parameters(), parts[1].named_parameters(), strict=True
    ):
        assert name == other_name
        assert one is other
    count = sum(p.numel() for p in encoders.parameters())
    assert count == sum(p.numel() for p in parts[0].parameters())
    state = encoders.state_dict()
    weights = {k for k in state if not k.endswith(("mean", "inv_std"))}
    assert all(k.startswith("parts.sub-01.") for k in weights)
    assert "parts.sub-02.tokenizer.mean" in state
    changed = {k: v + 1 for k, v in state.items()}
    encoders.load_state_dict(changed)
    assert torch.equal(parts[1].tokenizer.weight, changed["parts.sub-01.tokenizer.weight"])
    # moving keeps them shared
    encoders.to(torch.float64)
    assert parts[0].tokenizer.weight is parts[1].tokenizer.weight


def test_gradients_add_up_over_grids(collection, encoders):
    objective = MaskedGridVoxels(encoders, preset("pretrain"))
    objective.eval()
    decoders = objective.autoencoders
    found = []
    for batch in batches(collection)[:1] + batches(collection)[-1:]:
        torch.manual_seed(1)
        loss = objective(batch)["loss"]
        single = alone(collection, encoders, batch.grid)
        whole = MaskedAutoencoder(single.tokenizer, single.encoder, single.centers_mm)
        state = {**whole.state_dict(), **dict(decoders["sub-01"].named_parameters())}
        whole.load_state_dict(state)
        torch.manual_seed(1)
        wanted = whole(batch.voxels)
        torch.testing.assert_close(loss, wanted, rtol=0, atol=0)
        loss.backward()
        wanted.backward()
        found.append((batch.grid, single.tokenizer.weight.grad))
    assert [grid for grid, _ in found] == ["sub-01", "sub-02"]
    total = found[0][1] + found[1][1]
    torch.testing.assert_close(encoders.first.tokenizer.weight.grad, total)


def config(epochs):
    stage = replace(preset("pretrain"), epochs=epochs, batch_size=4)
    return ScmbmConfig(encoder=SIZES, stage=stage)


def test_pretraining_learns_resumes_and_serves_each_person(collection, tmp_path):
    whole = train_scmbm(collection, tmp_path / "whole", config(6))
    assert whole.best_value < whole.rows[0]["val_loss"]
    stopped = tmp_path / "stopped"

    def stop(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_scmbm(collection, stopped, config(6), on_epoch=stop)
    resumed = train_scmbm(collection, stopped, config(6), resume=True)
    assert [r["loss"] for r in resumed.rows] == [r["loss"] for r in whole.rows]
    weights = "encoder.safetensors"
    assert (stopped / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    # the weights serve the store of each person, whatever its number of tokens
    for name, store in collection.stores.items():
        member = VoxelStore.open(collection.path / "grids" / name)
        model = BrainEncoder(SIZES, grid=member.grid, frames=2, centers_mm=token_centers(member))
        loaded = load_scmbm(model.encoder, stopped / weights, tokenizer=model.tokenizer)
        assert loaded.tokenizer
        assert loaded.fresh == ()
        assert store.grid == model.tokenizer.grid


def test_refused(collection, encoders, tmp_path):
    table = replace(SIZES, positions="table")
    with pytest.raises(ConfigError, match="positions must be 'brain'"):
        GridEncoders.of(collection, table)
    with pytest.raises(InputError, match="grid must be one of sub-01, sub-02, got 'sub-03'"):
        encoders.part("sub-03")
    member = collection.stores["sub-01"]
    with pytest.raises(ConfigError, match="more must be empty"):
        train_scmbm(collection, tmp_path / "run", config(1), more=(member,))
    with pytest.raises(InputError, match="one or more"):
        tie_parameters({})
    with pytest.raises(InputError, match=r"got others in \['weight'\]"):
        tie_parameters({"a": torch.nn.Linear(2, 3), "b": torch.nn.Linear(4, 3)})
    assert GridLayout.of(member).grid is member.grid
    with pytest.raises(ConfigError, match=r"share of 1\.\.10, got 11"):
        train_scmbm(collection, tmp_path / "run", replace(config(1), windows=22))

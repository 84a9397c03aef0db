"""Small real objects that valid calls of the public API are made of."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

import fastbrain as fb
from fastbrain import data, decoding, evaluation
from fastbrain.brainllm import BrainLLM, BrainLLMConfig
from fastbrain.llm4brain import (
    Decoded,
    EncoderConfig,
    LLM4BrainConfig,
    ModelCard,
    QFormerConfig,
    VideoConfig,
    decode_windows,
)
from fastbrain.lm import (
    CodeVocabulary,
    MixedSequence,
    extend_vocabulary,
    interleave,
    load_llm,
    small_llm,
)
from fastbrain.stats import derangements
from fastbrain.vqlm import QuantiserConfig, VQAutoencoder, VQAutoencoderConfig

WORDS = ("a", "ball", "the", "box", "is", "there", "what", "?")
SHAPE, VOLUMES, AFFINE = (4, 4, 4), 40, np.diag([3.0, 3.0, 3.0, 1.0])


class World:
    """Files of a cohort, its store, and models that fit it; all made once, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows = ["subject\tsession\trun\tbold\tevents"]
        rng = np.random.default_rng(0)
        for subject in ("01", "02"):
            for run in ("1", "2", "3"):
                name = f"sub-{subject}_run-{run}"
                values = 1000 + 9 * rng.standard_normal((*SHAPE, VOLUMES))
                image = nib.Nifti1Image(values.astype(np.int16), AFFINE)
                image.header.set_xyzt_units("mm", "sec")
                image.header["pixdim"][4] = 2.0
                nib.save(image, folder / f"{name}.nii")
                lines = ["onset\tduration\ttrial_type\tstimulus\ttext"]
                lines += [f"{t}\t1\tx\ts{subject}{run}{t}\ta ball is there" for t in (0, 20, 40)]
                (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
                rows.append(f"{subject}\tn/a\t{run}\t{name}.nii\t{name}.tsv")
        self.table = folder / "runs.tsv"
        self.table.write_text("\n".join(rows) + "\n")
        nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE), folder / "mask.nii")
        self.mask = folder / "mask.nii"
        (folder / "words.tsv").write_text("onset\tduration\tword\n1\t0.5\ta\n2\t0.5\tball\n")
        (folder / "story.tsv").write_text("onset\tduration\ttrial_type\n1\t9\tstory\n")
        (folder / "captions.tsv").write_text("stimulus\tcaption\ns1\ta ball\n")

    @functools.cached_property
    def runs(self) -> tuple[data.RunRecord, ...]:
        return data.read_runs_table(self.table)

    @functools.cached_property
    def window(self) -> data.WindowSpec:
        return data.WindowSpec(4.0, 2)

    @staticmethod
    def split(trials: list[data.Trial]) -> data.Split:
        """Run 1 trains, run 2 validates, run 3 tests."""
        return data.split_by(trials, "run", train=["1"], val=["2"], test=["3"], closed_set=True)

    @functools.cached_property
    def plan(self) -> data.StorePlan:
        return data.plan_store(
            self.runs, window=self.window, kernel=(2, 2, 2), split=self.split, mask=self.mask
        )

    @functools.cached_property
    def store(self) -> data.VoxelStore:
        return data.write_store(self.plan, self.folder / "store")

    @property
    def trials(self) -> list[data.Trial]:
        return self.store.trials

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        return self.store.split.test[:2]

    @functools.cached_property
    def volumes(self) -> data.Volumes:
        return data.load_volumes(self.folder / "sub-01_run-1.nii")

    @functools.cached_property
    def language(self) -> tuple[Any, Any]:
        corpus = [" ".join(WORDS), "a ball is there", "the box is there"]
        sizes = {"dim": 16, "depth": 1, "heads": 2, "steps": 1, "batch_size": 2, "slots": 2}
        return load_llm(str(small_llm(corpus, cache_dir=self.folder / "llm", **sizes)))

    @property
    def llm(self) -> Any:
        return self.language[0]

    @property
    def tokenizer(self) -> Any:
        return self.language[1]

    @functools.cached_property
    def coded(self) -> tuple[Any, Any, CodeVocabulary]:
        """A language model that knows five codes and all digits."""
        import copy

        llm, tokenizer = copy.deepcopy(self.language)
        tokenizer.add_tokens([str(d) for d in range(10)])
        llm.resize_token_embeddings(len(tokenizer))
        vocabulary = extend_vocabulary(llm, tokenizer, 5)
        return llm.eval(), tokenizer, vocabulary

    @functools.cached_property
    def model(self) -> fb.LLM4Brain:
        config = LLM4BrainConfig(
            frames=2,
            encoder=EncoderConfig(dim=8, depth=1, heads=2, decoder_dim=8, decoder_heads=2),
            qformer=QFormerConfig(dim=8, depth=1, heads=2, n_queries=2),
            video=VideoConfig(frames=2, size=8, patch=4, dim=8, depth=1, heads=2),
            n_classes=3,
        )
        torch.manual_seed(0)
        made = fb.LLM4Brain(
            config,
            grid=self.store.grid,
            centers_mm=self.store.grid.centers(self.store.affine),
            llm=self.llm,
            text_tokenizer=self.tokenizer,
            mean=self.store.mean,
            inv_std=self.store.inv_std,
            scale=self.store.scale,
        ).eval()
        made.card = ModelCard(llm="x", tr=2.0, prompt="what is there ?")
        return made

    @functools.cached_property
    def brainllm(self) -> BrainLLM:
        torch.manual_seed(0)
        config = BrainLLMConfig(features=4, frames=2)
        return BrainLLM(config, llm=self.llm, text_tokenizer=self.tokenizer).eval()

    @property
    def batches(self) -> data.WindowLoader:
        return data.WindowLoader(self.store, self.ids, batch_size=2, shuffle=False)

    @functools.cached_property
    def decoded(self) -> Decoded:
        short = decoding.Sampling(max_new_tokens=2)
        return decode_windows(self.model, self.batches, sampling=short)

    @functools.cached_property
    def sequence(self) -> MixedSequence:
        _, tokenizer, vocabulary = self.coded
        return interleave([torch.tensor([[0, 1], [2, 3]]), "what"], tokenizer, vocabulary)

    @functools.cached_property
    def coder(self) -> VQAutoencoder:
        config = VQAutoencoderConfig(
            regions=2, patch=4, dim=8, depth=1, heads=2,
            quantiser=QuantiserConfig(codes=4, dim=4),
        )  # fmt: skip
        return VQAutoencoder(config, center=np.zeros(2), spread=np.ones(2))

    @functools.cached_property
    def conditions(self) -> evaluation.Conditions:
        truth = tuple(f"a ball {'now ' * (i % 3)}there" for i in range(8))
        blocks = tuple(f"run {i // 2}" for i in range(8))
        partners = derangements(blocks, count=100)
        own = np.linspace(1.0, 2.0, 8)
        controls = (
            evaluation.Control("true brain", truth, own),
            evaluation.Control("deranged brain", None, own[partners] + 0.5),
            evaluation.Control("zero brain", ("a thing",) * 8, own + 0.1),
            evaluation.Control("untuned model", ("",) * 8, own + 1),
            evaluation.Control("majority text", (truth[0],) * 8),
        )
        return evaluation.Conditions(truth, partners, blocks, {c.name: c for c in controls})

    @functools.cached_property
    def samples(self) -> list[evaluation.Sample]:
        c = self.conditions
        return [
            evaluation.Sample(f"t{i}", f"0{i % 2}", c.blocks[i], c.truth[i], c.truth[i])
            for i in range(8)
        ]

    @functools.cached_property
    def evaluation(self) -> evaluation.Evaluation:
        return evaluation.evaluate_text(self.samples, self.conditions, bert=False)

    @functools.cached_property
    def moments(self) -> evaluation.Moments:
        return evaluation.Moments(np.zeros(3), np.ones(3), "train")

    @functools.cached_property
    def cohort(self) -> evaluation.ClinicalCohort:
        rng = np.random.default_rng(1)
        return evaluation.ClinicalCohort(
            rng.standard_normal((12, 4)), rng.standard_normal(12), rng.standard_normal((12, 2)),
            [f"family {i // 2}" for i in range(12)],
        )  # fmt: skip

    @functools.cached_property
    def scores(self) -> list[evaluation.Score]:
        return [
            evaluation.Score(
                "bleu1", "free-running", v, 4, chance=0.1, control="deranged brain", p=0.1,
                group=f"subject 0{i}",
            )
            for i, v in enumerate((0.5, 0.6, 0.7))
        ]  # fmt: skip

    @functools.cached_property
    def parcellation(self) -> data.Parcellation:
        labels = np.ones(SHAPE, dtype=np.int64)
        labels[2:] = 2
        return data.Parcellation.from_labels(labels)

"""
Export windows and captions
===========================

Windows for WebDataset and Hugging Face, prompts for vLLM, and captions in the format of BrainHub.
"""

# %%
# A simulated person; run 04 is the test part.
import tempfile
from importlib.util import find_spec
from pathlib import Path

import datasets
import numpy as np

import fastbrain as fb
from fastbrain.evaluation import read_captions, score_captions, write_captions
from fastbrain.inference import open_decoder
from fastbrain.integrations import vllm
from fastbrain.integrations.store_exports import export_store

folder = tempfile.TemporaryDirectory()
work = Path(folder.name)
design = fb.CohortDesign(subjects=1, runs=4, trials=15, snr=2.0, resolution_mm=8)
runs = fb.read_runs_table(fb.simulate_cohort(work / "bids", design))
parts = {"train": ["01", "02"], "val": ["03"], "test": ["04"], "new_stimuli": True}
options = {"window": fb.WindowSpec(delay_s=4.0, window_trs=2), "kernel": (4, 4, 4)}
store = fb.prepare_store(
    runs, work / "store", **options, split=lambda trials: fb.split_by(trials, "run", **parts)
)

# %%
# The same windows in two formats, each with the statistics that a model needs.
export_store(store, work / "tar", "webdataset")
print(sorted(path.name for path in (work / "tar").iterdir()))
export_store(store, work / "hf", "hf")
assert len(datasets.load_from_disk(work / "hf")["test"]) == len(store.split.test)

# %%
# vLLM writes the texts of many windows at once. It needs a GPU and a trained run, here runs/first.
if find_spec("vllm") and Path("runs/first").exists():
    own = fb.open_run("runs/first")[1]
    decoder, brains = open_decoder("runs/first", device="cuda").bind(own, own.split.test)
    print(vllm.write_texts(vllm.open_engine("runs/first"), decoder, brains)[:3])

# %%
# A caption for each test window: that of the most similar training window.
windows = {i: store.window(i).astype(float).mean(0).ravel() for i in store.by_id}
train = np.stack([windows[i] for i in store.split.train])
nearest = {i: np.corrcoef(windows[i], train)[0, 1:].argmax() for i in store.split.test}
captions = {i: store.by_id[store.split.train[k]].text for i, k in nearest.items()}

# %%
# BrainHub's format maps image ids to captions. Chance is the score of captions of other windows.
found = read_captions(write_captions(work / "sub01_decoded_caption.json", captions))
assert found == captions
for score in score_captions(found, {i: [store.by_id[i].text] for i in found}, meaning=False).scores:
    print(f"{score.metric:<20} {score.value:.3f}  chance {score.chance:.3f}")

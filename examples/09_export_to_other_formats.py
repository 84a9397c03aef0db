"""
Export windows and captions
===========================

Windows of a store for the loaders of WebDataset and Hugging Face, and decoded captions in the JSON
format of BrainHub, scored from that file.
"""

# %%
# A simulated person; run 03 is the test part.
import tarfile
import tempfile
from pathlib import Path

import datasets
import numpy as np

import fastbrain as fb
from fastbrain.evaluation import read_captions, score_captions, write_captions
from fastbrain.integrations.store_exports import export_store

folder = tempfile.TemporaryDirectory()
work = Path(folder.name)
design = fb.CohortDesign(subjects=1, runs=4, trials=15, snr=2.0, resolution_mm=8)
store = fb.prepare_store(
    fb.read_runs_table(fb.simulate_cohort(work / "bids", design)),
    work / "store",
    window=fb.WindowSpec(delay_s=4.0, window_trs=2),
    kernel=(4, 4, 4),
    split=lambda trials: fb.split_by(
        trials, "run", train=["01", "02"], val=["03"], test=["04"], new_stimuli=True
    ),
)

# %%
# The same windows in two formats. Both folders also have the statistics that a model needs.
export_store(store, work / "tar", "webdataset")
with tarfile.open(work / "tar" / "test-000000.tar") as tar:
    print(tar.getnames()[:3])
export_store(store, work / "hf", "hf")
test = datasets.load_from_disk(str(work / "hf"))["test"]
print(test)
assert len(test) == len(store.split.test)

# %%
# A caption for each test window: that of the most similar training window.
windows = {i: store.window(i).astype(float).mean(0).ravel() for i in store.by_id}
train = np.stack([windows[i] for i in store.split.train])
nearest = {i: np.corrcoef(windows[i], train)[0, 1:].argmax() for i in store.split.test}
captions = {i: store.by_id[store.split.train[k]].text for i, k in nearest.items()}
references = {i: [store.by_id[i].text] for i in captions}

# %%
# BrainHub's format is an object of image id to caption, so files of other decoders can be scored in
# the same way. The chance level is the score of the captions of other windows.
file = write_captions(work / "sub01_decoded_caption.json", captions)
assert read_captions(file) == captions
for score in score_captions(read_captions(file), references, meaning=False).scores:
    print(f"{score.metric:<20} {score.value:.3f}  chance {score.chance:.3f}")

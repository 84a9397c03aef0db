"""
Your own BIDS data, to a decoded sentence
=========================================

From a BIDS folder with fMRIPrep derivatives to a trained model and to text for a person whom the
model has not seen. The cohort is simulated here, with a signal much stronger than that of a
recording; with data of your own, start at the second cell.
"""

# %%
# A cohort of three people in BIDS, and the images that fMRIPrep would make of it.
import tempfile
from pathlib import Path

import fastbrain as fb
from fastbrain.data import write_fmriprep_derivative

folder = tempfile.TemporaryDirectory()
work = Path(folder.name)
raw = work / "bids"
fb.simulate_cohort(raw, fb.CohortDesign(subjects=3, runs=3, trials=10, snr=3.0, resolution_mm=8))
write_fmriprep_derivative(raw, other_grids=0)

# %%
# Events come from the raw data, images and masks from the derivatives. The store has windows of two
# volumes that begin 4 s after each trial, and is split before anything is fitted: no person,
# stimulus or text of the test part is used for training.
runs = fb.runs_from_bids(raw, derivatives="fmriprep")
store = fb.prepare_store(
    runs,
    work / "store",
    window=fb.WindowSpec(delay_s=4.0, window_trs=2),
    kernel=(4, 4, 4),
    split=lambda trials: fb.split_unseen(trials, test_subjects=["03"]),
)
print(len(store.split.train), "training windows,", len(store.split.test), "test windows")

# %%
# A small model, trained on one stage for a few epochs. Without ``llm``, a small language model is
# trained on the texts of the training part.
settings = {
    "model": {"encoder": {"dim": 24, "depth": 1}, "qformer": {"dim": 24, "depth": 1}},
    "pretrain": None,
    "stage1": None,
    "stage2": {"epochs": 4, "batch_size": 8},
    "stimulus": "text",
}
fb.train_llm4brain(store, work / "run", fb.RunConfig.from_dict(settings))

# %%
# Text for the windows of the third person, beside the caption of the stimulus. After seconds of
# training it is not accurate: ``fastbrain evaluate`` reports it with every control.
decoding = fb.decode(work / "run", part="test")
for window in decoding.windows[:3]:
    print(f"{window.text!r}, true: {store.by_id[window.trial_id].text!r}")
assert len(decoding.texts) == len(store.split.test)
assert all(window.subject == "03" and window.text for window in decoding.windows)

"""
Rehearse a live session
=======================

Before a person lies in the scanner, a synthetic scanner writes volumes with faults, and the whole
session runs on them: reading, preprocessing, decoding, one record for each volume.
"""

# %%
# A simulated cohort and a model, trained for one epoch: a rehearsal tests speed and completeness,
# not accuracy.
import tempfile
from pathlib import Path

import fastbrain as fb
from fastbrain.realtime.preprocess import VolumePipeline
from fastbrain.realtime.rehearsal import FaultPlan, FaultRates, rehearse, show
from fastbrain.realtime.session import Settings, open_window_decoder

folder = tempfile.TemporaryDirectory()
work = Path(folder.name)
design = fb.CohortDesign(subjects=2, runs=3, trials=6, snr=2.0, resolution_mm=8)
store = fb.prepare_store(
    fb.read_runs_table(fb.simulate_cohort(work / "bids", design)),
    work / "store",
    window=fb.WindowSpec(delay_s=4.0, window_trs=2),
    kernel=(4, 4, 4),
    split=lambda trials: fb.split_unseen(trials, test_subjects=["02"]),
)
settings = {
    "model": {"encoder": {"dim": 24, "depth": 1}, "qformer": {"dim": 24, "depth": 1}},
    "pretrain": None,
    "stage1": None,
    "stage2": {"epochs": 1, "batch_size": 8},
    "stimulus": "text",
}
run = work / "run"
fb.train_llm4brain(store, run, fb.RunConfig.from_dict(settings))

# %%
# Volumes that never come, come twice or are cut off. All come 16 times as fast as in a scan; the
# deadline of a text is that of a scan, one repetition time.
plan = FaultPlan.draw(30, FaultRates.parse("drops=0.07,duplicates=0.04,truncated=0.04"))
print("faults:", dict(plan.kinds))
verdict = rehearse(
    store,
    VolumePipeline.from_run(run),
    open_window_decoder(run, phrases=["a dog hides a box", "a man kicks a ball"]),
    plan=plan,
    settings=Settings(tr_s=store.tr),
    speed=16.0,
)

# %%
# Latencies, and go or no-go: every volume has one record, every fault its label, and no deadline
# was missed. The same on the command line: ``fastbrain live --rehearse RUN --faults usual``.
show(verdict, tr_s=store.tr)
assert verdict.seconds, "no window was decoded"

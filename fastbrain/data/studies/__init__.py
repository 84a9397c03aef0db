"""Published data sets, resting-state studies, and annotation of stimuli."""

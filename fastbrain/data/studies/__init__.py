"""Published data sets, resting studies, and annotation of stimuli."""

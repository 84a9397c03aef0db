"""Simulated cohorts with known ground truth."""

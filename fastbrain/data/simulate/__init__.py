"""Simulated cohorts with known answers."""

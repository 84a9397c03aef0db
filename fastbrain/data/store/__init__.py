"""Voxel store: plan, prepare, verify and read it."""

"""The voxel store: planned, prepared, verified and read."""

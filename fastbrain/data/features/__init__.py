"""Features of recordings: principal components, parcels, resampled time courses."""

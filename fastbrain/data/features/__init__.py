"""Features of recordings: components, parcels, resampled series."""

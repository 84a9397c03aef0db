"""Read DICOM images of functional runs in memory: mosaics, enhanced images and single slices."""

"""Readers of images, tables, events and BIDS data sets."""

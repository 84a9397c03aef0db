"""Nuisance regression and censoring of volumes, declared once for a store."""

"""Blinded preference test: people compare texts of the true brain with those of another brain."""

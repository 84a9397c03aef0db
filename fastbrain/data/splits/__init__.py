"""Splits into training, validation and test parts, checked for leaks."""

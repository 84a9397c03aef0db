"""Splits into training, validation and test parts that no leak crosses."""

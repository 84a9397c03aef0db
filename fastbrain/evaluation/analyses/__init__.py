"""Scores by subject, region, surprise, delay and story."""

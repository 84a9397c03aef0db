"""Real time: from a scanner's volumes to decoded text within a repetition time."""

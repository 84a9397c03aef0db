"""Control conditions: noise, zero and mismatched brains, and texts without a brain."""

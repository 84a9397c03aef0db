"""Control conditions: noise, zero and mismatched recordings, text alone."""

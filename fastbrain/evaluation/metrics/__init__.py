"""Text, retrieval and clinical metrics."""

"""Reports: figures, tables, HTML and comparison of runs."""

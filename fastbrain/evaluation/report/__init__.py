"""Reports: figures, tables, HTML, comparison of runs."""

"""One module a subcommand, imported when it is called; see CONTRIBUTING.md for its imports."""

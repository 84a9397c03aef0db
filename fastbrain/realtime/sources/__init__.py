"""Where volumes come from: folders, sockets, recorded runs, and the same process."""

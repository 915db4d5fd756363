"""Work in pieces: in this process, over processes, threads or Ray."""

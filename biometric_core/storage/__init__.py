"""Tables of record and files, under a folder or an object store."""

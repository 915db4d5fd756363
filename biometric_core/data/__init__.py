"""From the files of a source to arrays of prepared captures."""

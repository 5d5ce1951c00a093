"""Door: the path that the guide names for the text of a dataset."""

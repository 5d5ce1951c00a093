"""Door: the path that the guide names for loading text; the lexicons lie here, too."""

"""Raw text in, corpus shards out."""

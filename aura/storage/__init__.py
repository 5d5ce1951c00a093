"""The action cache, object stores, and where shards lie."""

"""The stage encode: a corpus becomes token shards."""

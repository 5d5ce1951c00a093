"""The token shards that stages hand on: data/tokens."""

"""The stage pretrain: a language model is trained on token shards."""

"""Tokenizers and models through git and a bucket."""

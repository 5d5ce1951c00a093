"""Comparisons of tokenizers and models; no stage imports them."""

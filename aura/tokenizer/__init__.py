"""The SentencePiece tokenizer: symbols, training, encoding, measures."""

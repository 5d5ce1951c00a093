"""The stage train_tokenizer: a SentencePiece model from a corpus."""

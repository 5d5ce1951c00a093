"""The language model: architecture, training loop, evaluation, samples."""

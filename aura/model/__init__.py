"""The language model that stages hand on: models/lm."""

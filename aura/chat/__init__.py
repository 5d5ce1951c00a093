"""Chats with a trained model, in a terminal or through a pipe."""

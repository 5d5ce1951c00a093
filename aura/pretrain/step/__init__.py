"""Code that decides the numbers of a training step; a checkpoint's key holds it."""

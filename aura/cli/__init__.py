"""The command aura."""

"""The loops of benchmarks/torture.py: one module per kind of disturbance, over what they share."""

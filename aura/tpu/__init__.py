"""TPU pods: what they are, whether a run fits on one, and running it there through the gcloud CLI."""

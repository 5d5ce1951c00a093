"""The stage select: duplicates go, caps hold, documents are held out."""

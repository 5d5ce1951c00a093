"""The stage validate: gates, measures and the report."""

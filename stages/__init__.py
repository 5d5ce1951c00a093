"""One thin script per DVC stage: read params, call aura, write outputs, report."""

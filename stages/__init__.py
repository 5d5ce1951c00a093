"""One thin script per DVC stage: read params, call aura, write outputs, report."""

import gc

gc.disable()  # until `console.run`: imports make objects that stay

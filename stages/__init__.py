"""Paths that documents name for the stages; each script forwards to the stage of its name in `aura/stages`."""

import aura.stages as aura_stages  # noqa: F401 - takes the first look at the inputs, as `python -m aura.stages.NAME` does

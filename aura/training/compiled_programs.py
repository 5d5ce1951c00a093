"""The folder in which JAX keeps the programs that it compiled, between runs."""

import platform
from pathlib import Path

import jax

from aura.core import keys, paths

COMPILED, COMPILED_BYTES = Path(".aura/compiled"), 1_000_000_000  # where XLA's programs are kept, and how much of them
KEPT_FROM = 0.05  # seconds of compilation; JAX keeps programs of 1 and more, and made the first state's at each start


def keep_compiled() -> None:
    """Have JAX keep compiled programs between runs, unless JAX_COMPILATION_CACHE_DIR says where, or not to.

    Its key is the program with its options, the versions and the devices; a folder is for processors that know the
    same instructions. An entry that a kill cut short lacks the time of its last use, which JAX writes after it; it is
    removed here, for JAX would compile its program again at each start and never replace it.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    folder = COMPILED.absolute() / _processor()
    for entry in folder.glob("*-cache"):
        if not entry.with_name(f"{entry.name.removesuffix('-cache')}-atime").exists():
            entry.unlink(missing_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", KEPT_FROM)


def keep_compiled_of_project() -> None:
    """`keep_compiled` for a command that may run in any folder: it makes `.aura` in a project alone."""
    if paths.PIPELINE_FILE.exists():
        keep_compiled()


def _processor() -> str:
    """A hash of what the processor can do, as Linux tells it; elsewhere of the kind of machine."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return keys.action_key(platform.machine(), features)

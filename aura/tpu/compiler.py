"""The TPU compiler on a machine without a TPU: libtpu, from `make tpu-tools`, compiles for a topology by its name.

libtpu lies in a folder of its own and not among the locked packages: 690 MB, for Linux on x86-64 only, and JAX would
look for a TPU at every start. It is the version that the locked JAX asks for, as it will run on the pod.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aura.core.errors import UserError
from aura.tpu.topology import Accelerator

TOOLS = Path(".venv-tpu/libtpu/libtpu.so")
# Without a TPU libtpu looks for one on the network, writes logs, and tolerates one process at a time.
ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v4-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_LOG_DIR": "disabled",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def library() -> Path:
    """Return the path of libtpu: TPU_LIBRARY_PATH, or that of `make tpu-tools`; `UserError` if it is not there."""
    path = Path(os.environ.get("TPU_LIBRARY_PATH", TOOLS))
    if not path.exists():
        raise UserError(
            f"expected the TPU compiler as {path}, found nothing. Run: make tpu-tools (Linux, x86-64; 213 MB)."
        )
    return path


def devices(accelerator: Accelerator) -> list[Any]:
    """The devices of an accelerator as something to compile for; nothing can run on them."""
    os.environ.update(ENVIRONMENT | {"TPU_LIBRARY_PATH": str(library().absolute())})
    import jax
    from jax.experimental import topologies

    jax.config.update("jax_platforms", "cpu")  # JAX itself must not look for a TPU now that it could
    options: dict[str, Any] = {}
    if accelerator.generation.name == "v4":
        options["chip_config_name"] = "megacore"  # else each TensorCore is a device
    if accelerator.chips_per_slice < 4:
        options["chips_per_host_bounds"] = [1, 1, 1]
    if accelerator.slices > 1:
        options["num_slices"] = accelerator.slices
    return list(topologies.get_topology_desc(accelerator.topology_name, "tpu", **options).devices)


@contextmanager
def effort(*, fast: bool) -> Iterator[None]:
    """Set how hard the compiler tries: not at all if `fast`. JAX's compilation cache cannot serve it, and is off."""
    import jax

    names = ("jax_optimization_level", "jax_memory_fitting_level", "jax_enable_compilation_cache")
    before = {name: getattr(jax.config, name) for name in names}
    if fast:
        jax.config.update("jax_optimization_level", "O0")
        jax.config.update("jax_memory_fitting_level", "O0")
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)

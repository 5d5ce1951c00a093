"""The preamble of every stage: libraries and params.yaml are checked, then storage is opened.

It decides no bytes, and neither does `aura.project.whole_params`, so dvc.yaml lists neither of them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aura.core import console, libraries, params, pipeline_file
from aura.core.errors import UserError
from aura.project import whole_params

if TYPE_CHECKING:
    from aura.storage.cache import Cache
    from aura.storage.placement import ShardPlace


def check() -> None:
    """Refuse libraries other than the locked ones, and tell every mistake in params.yaml, before any work."""
    libraries.require_locked()
    try:
        whole_params.load()
    except UserError as error:
        if stage := os.environ.get("DVC_STAGE"):  # DVC has removed its outputs by now
            put_back = (
                f"What {stage} made before comes back with: dvc checkout {stage}; or, once corrected: dvc repro. "
                f"Its reports in git come back with: git checkout -- reports/{stage}"
            )
            raise UserError(f"{error}\n{put_back}") from None
        raise


def tell_untracked(stage: str, key: str, path: str) -> None:
    """Note that DVC will not notice a change of an input of params.yaml, unless dvc.yaml lists it.

    dvc.yaml cannot name an input that may be null.

    Arguments:
        stage: the name of the stage.
        key: of the input in params.yaml, such as pretrain.from.
        path: the input: a file or a folder.
    """
    if os.path.normpath(path) not in map(os.path.normpath, pipeline_file.dependencies(stage)):
        console.err.print(
            f"note: {key} is {path}, which dvc.yaml does not list under deps of {stage}: a change of it alone reruns "
            f"nothing. Add a line there: - {path}",
            markup=False,
        )


@contextmanager
def storage() -> Iterator[tuple["ShardPlace", "Cache"]]:
    """Yield the place of shards and the action cache; after a success, the cache is cut to its limit."""
    from aura.storage import placement  # not above: `export` does not depend on it

    shared = params.shared()
    place = placement.of(shared.store)
    cache = place.cache()
    yield place, cache
    cache.prune_own(shared.cache.max_bytes)

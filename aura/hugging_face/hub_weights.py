"""Weights on the Hugging Face Hub at a fixed commit: hf://ORG/NAME@REVISION.

The revision is a full commit, never a branch, so the same address is the same bytes for ever. A download happens only
for an address in params.yaml, and takes the weights and the JSON files beside them: no pickle, and no program. The
Hub's own cache keeps what was fetched, which serves where there is no network.
"""

import logging
import re
from pathlib import Path

from aura.core.errors import UserError

_ADDRESS = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})", re.ASCII)
WANTED = ("*.safetensors", "*.json")


def is_address(where: str) -> bool:
    """Return whether this is an address of the Hub and no folder."""
    return where.startswith("hf://")


def download(where: str, *, only_config: bool = False) -> Path:
    """The folder that holds the files of an address here.

    Arguments:
        where: hf://ORG/NAME@REVISION.
        only_config: fetch config.json and nothing else.

    Raises:
        UserError: the address has no full commit, or the files cannot be had.
    """
    address = _ADDRESS.fullmatch(where)
    if not address:
        raise UserError(
            f"{where}: expected hf://ORG/NAME@REVISION with a full commit of 40 hexadecimal digits. The page of the "
            "model lists its commits under Files"
        )
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = ["config.json"] if only_config else [*WANTED]
    name, revision = address["name"], address["revision"]
    huggingface_hub.logging.set_verbosity(logging.ERROR)
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=wanted, ignore_patterns=["*/*"], max_workers=4
            )
        )
    except (LocalEntryNotFoundError, OSError, ValueError, RuntimeError) as error:
        told = " ".join(str(error).split())
        raise UserError(
            f"{where} cannot be had: {told:.300}. Check the name and the commit; a model behind a gate needs: hf auth "
            "login"
        ) from None

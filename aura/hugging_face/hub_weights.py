"""Weights on the Hugging Face Hub at a fixed commit (`aura.core.hub_address`).

A download happens only for an address in params.yaml. It takes weights, JSON files and the tokenizer: no pickle,
and no program. The Hub's own cache keeps what was fetched, which serves where there is no network.
"""

import logging
from pathlib import Path

from aura.core import hub_address
from aura.core.errors import UserError
from aura.tokenizer.adopted_record import INSIDE

WANTED = ("*.safetensors", "*.json", *INSIDE)  # a tokenizer is compared with the run's


def download(where: str, *, only_config: bool = False) -> Path:
    """The folder that holds the files of an address here.

    Arguments:
        where: hf://ORG/NAME@REVISION.
        only_config: fetch config.json and nothing else.

    Raises:
        UserError: the address has no full commit, or the files cannot be had.
    """
    name, revision = hub_address.parsed(where)
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = ["config.json"] if only_config else [*WANTED]
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

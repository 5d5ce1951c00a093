"""The table of units from one run to the next, in the action cache: the next run mostly looks up and gathers."""

from aura.core.keys import action_key, code_key
from aura.storage.cache import Cache
from aura.tokenizer import symbols, unit_table, units
from aura.tokenizer import tokenizer as tokenizer_module
from aura.tokenizer.opening import AnyTokenizer

LIBRARIES = ("numpy", "pyarrow", "sentencepiece")


def restore(tokenizer: AnyTokenizer, cache: Cache) -> None:
    """Give a tokenizer the units that an earlier run learnt."""
    entry = cache.get(_key(tokenizer))
    content = entry.read("table") if entry and tokenizer.table is not None else None
    if content is not None and tokenizer.table is not None:
        tokenizer.table.restore(content)


def keep(tokenizer: AnyTokenizer, cache: Cache) -> None:
    """Keep the units that a tokenizer knows, if they are more than were kept; may run in a worker process."""
    if tokenizer.table is None:
        return
    entry, number = cache.get(_key(tokenizer)), len(tokenizer.table)
    if entry is None or number > (entry.record or 0):
        cache.put(_key(tokenizer), number, {"table": tokenizer.table.content()})


def _key(tokenizer: AnyTokenizer) -> str:
    code = code_key((symbols, tokenizer_module, unit_table, units), LIBRARIES)
    return action_key("units", tokenizer.encoding_sha256, code)

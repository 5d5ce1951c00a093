"""The set of conversations: the sources are read in tasks, duplicates dropped, and a share is held out.

Of exact duplicates, the first by the order of the sources in params.yaml stays. A conversation is held out if the hash
of its group lies below `held_out` of the range, whatever else the set holds. So a set that grows moves nothing between
the splits, but for the smallest hash, which is held out in any case, and the largest, which is not: no split is empty.

The calling process holds some 60 bytes for each conversation, its hashes, and a row group of a part.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from aura.conversations import listing, parts
from aura.conversations.accounts import DUPLICATE, Account
from aura.conversations.conversation import Message
from aura.conversations.options import Conversations
from aura.conversations.parts import Recipe, Task
from aura.core import console, parallel, stage_inputs
from aura.core.console import track
from aura.core.errors import UserError
from aura.core.files import make_folder, replaced_folder
from aura.core.terms import SPLITS
from aura.sources.documents.affect import read_lexicon
from aura.storage.cache import Cache
from aura.tokenizer import opening
from aura.tokenizer.chat import TOKENS
from aura.tokenizer.chat_encoding import EncodedConversation, marked_by_text
from aura.tokens.conversation_shards import ConversationSplitWriter, write_manifest

SMALL = 1_000_000  # bytes to read; starting workers costs more than reading as much here
TRAIN, HELD_OUT = SPLITS


def build(
    settings: Conversations,
    tokenizer_folder: Path,
    lexicon: Path,
    out: Path,
    cache: Cache | None = None,
    cluster: str | None = None,
) -> dict[str, Any]:
    """Make the set of conversations in `out`; returns what its manifest says about sources.

    Arguments:
        settings: the section of params.yaml.
        tokenizer_folder: `models/spm`.
        lexicon: of the affect vectors.
        out: the folder of the set, which is replaced.
        cache: knows the files of pinned folders.
        cluster: the address of a cluster; without it, this machine's cores do the work.

    Raises:
        UserError: a source has no conversation, or cannot be had; or all sources together have fewer than two.
    """
    model = (tokenizer_folder / "spiece.model").absolute()
    tokenizer = opening.load(model)
    if by_text := marked_by_text(tokenizer):
        console.err.print(
            f"warning: this tokenizer has no special tokens for the roles {', '.join(by_text)}: texts such as "
            f"{TOKENS[by_text[0]]} mark their messages, which any message can write, too. Name tokens for them in "
            "train_tokenizer.roles (params.yaml)",
            markup=False,
        )
    recipe = Recipe(model, settings.max_record_bytes, read_lexicon(Path(lexicon)))
    if recipe.lexicon.notice:
        console.err.print(recipe.lexicon.notice, markup=False)
    with replaced_folder(out) as folder, parallel.executors(SMALL, cluster) as executor_for:
        work = folder / "work"
        make_folder(work)
        tasks = [
            task
            for name, source in settings.sources.items()
            for task in parts.planned(name, source, listing.files_of(source, cache), work)
        ]
        pool = executor_for(sum(task.size for task in tasks), len(tasks))
        made = parallel.ordered_map(pool, partial(parts.make, recipe=recipe), tasks)
        accounts = {name: Account() for name in settings.sources}
        for task, account in zip(tasks, track(made, "conversations", len(tasks)), strict=True):
            accounts[task.source].take_in(account)
        stage_inputs.all_read()
        _require_conversations(settings, accounts)
        kept = _kept(tasks, accounts)
        splits = _split(kept, tasks, settings.held_out)
        counts, entries = _write(folder, tasks, splits)
        details = _details(accounts, counts, settings.held_out)
        shutil.rmtree(work)
        write_manifest(folder, tokenizer.encoding_sha256, entries, details)
    for line in details["warnings"]:
        console.err.print(line, markup=False)
    return details


def _require_conversations(settings: Conversations, accounts: Mapping[str, Account]) -> None:
    for name, account in accounts.items():
        if not account.conversations:
            remedy = next(account.remedies(), "the shapes that are read stand in docs/conversations.md")
            lost = account.in_words() or "nothing in them"
            raise UserError(
                f"No conversation in source {name} ({settings.sources[name].path}): {account.files:,} files, "
                f"{account.records:,} records; {lost}. Next: {remedy}."
            )


def _column(task: Task, name: str) -> npt.NDArray[np.void]:
    """The hashes in a column of a part, 16 bytes each."""
    found = pq.read_table(task.part, columns=[name]).column(0).combine_chunks()
    return np.frombuffer(found.buffers()[1] or b"", np.dtype("V16"), len(found), 16 * found.offset)


def _kept(tasks: list[Task], accounts: Mapping[str, Account]) -> npt.NDArray[np.bool_]:
    """Mark the conversations, of all in order, that are no duplicates; the others are counted."""
    digests = np.concatenate([_column(task, "digest") for task in tasks])
    pairs = digests.view(np.uint64).reshape(-1, 2)
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))  # stable: the first of those that are the same stays first
    same = np.flatnonzero(np.all(pairs[order[1:]] == pairs[order[:-1]], axis=1)) + 1
    kept = np.ones(len(digests), np.bool_)
    kept[order[same]] = False
    start = 0
    for task in tasks:
        rows = pq.read_metadata(task.part).num_rows
        here = ~kept[start : start + rows]
        if here.any():
            first = pq.read_table(task.part, columns=["name"]).column(0)[int(np.argmax(here))].as_py()
            accounts[task.source].lose(DUPLICATE, first, int(here.sum()))
        start += rows
    return kept


def _split(kept: npt.NDArray[np.bool_], tasks: list[Task], held_out: float) -> npt.NDArray[np.int8]:
    """The split of each conversation: 0 train, 1 held out, -1 dropped."""
    keys = np.concatenate([_column(task, "split_key") for task in tasks]).view(">u8").reshape(-1, 2)[:, 0]
    chosen = keys[kept]
    if chosen.min() == chosen.max():
        raise UserError(
            "expected conversations that can be split into train and held_out, got 1 (or all of one module). Add "
            "conversations, or another source: aura conversations add NAME PATH"
        )
    is_held = (keys < int(held_out * 2**64)) | (keys == chosen.min())
    is_held &= keys != chosen.max()
    return np.where(kept, is_held.astype(np.int8), np.int8(-1))


def _write(folder: Path, tasks: list[Task], splits: npt.NDArray[np.int8]) -> tuple[dict[str, Counter[str]], list[Any]]:
    """Write both splits; returns for each source its conversations by split, and the entries of the shards."""
    counts: dict[str, Counter[str]] = {}
    start = 0
    with ExitStack() as stack:
        writers = [stack.enter_context(ConversationSplitWriter(folder, split)) for split in SPLITS]
        for task in tasks:
            of_source = counts.setdefault(task.source, Counter())
            for row in _rows(task.part):
                split = splits[start]
                start += 1
                if split >= 0:
                    of_source[SPLITS[split]] += 1
                    name, messages, encoded, affect = row
                    writers[split].add(name, task.source, messages, encoded, affect)
        entries = [entry for writer in writers for entry in writer.finish()]
    return counts, entries


def _rows(part: Path) -> Iterator[tuple[str, list[Message], EncodedConversation, list[float]]]:
    """Yield what a part holds of each conversation."""
    with pq.ParquetFile(part) as file:
        for number in range(file.num_row_groups):
            group = file.read_row_group(number)
            ids, learnt = (group[name].combine_chunks() for name in ("ids", "learnt"))
            flat_ids = ids.flatten().to_numpy()
            flat_learnt = learnt.flatten().to_numpy(zero_copy_only=False)
            ends = np.cumsum(ids.value_lengths().to_numpy())
            rest = zip(*(group[name].to_pylist() for name in ("name", "messages", "affect")), strict=True)
            for end, begin, (name, messages, affect) in zip(ends.tolist(), [0, *ends[:-1].tolist()], rest, strict=True):
                encoded = EncodedConversation(flat_ids[begin:end], flat_learnt[begin:end])
                yield name, [Message(**message) for message in messages], encoded, affect


def _details(accounts: Mapping[str, Account], counts: Mapping[str, Counter[str]], held_out: float) -> dict[str, Any]:
    """The manifest's counts of each source, and its warnings."""
    sources = {
        name: account.record({split: counts.get(name, Counter())[split] for split in SPLITS})
        for name, account in accounts.items()
    }
    warnings = [line for name, account in accounts.items() if account.loses_much for line in _warned(name, account)]
    return {"held_out": held_out, "sources": sources, "warnings": warnings}


def _warned(name: str, account: Account) -> list[str]:
    return [
        f"warning: source {name} lost much: {account.in_words()}",
        *(f"  {remedy}" for remedy in account.remedies()),
    ]

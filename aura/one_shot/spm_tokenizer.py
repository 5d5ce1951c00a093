"""`SPMTokenizer`, the tokenizer under the import path and the names of the guide.

Thin over `aura.tokenizer`, which the pipeline itself uses. No JAX is imported.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from aura.core.errors import UserError
from aura.core.section import checked
from aura.extract.accounts import HARMLESS
from aura.extract.losses import remedy
from aura.one_shot.loaders import read_documents
from aura.project import whole_params
from aura.sources.options import TxtSource
from aura.tokenizer.id_arrays import Ids
from aura.tokenizer.tokenizer import AllowedSpecial, Tokenizer
from aura.train_tokenizer import artifact


class SPMTokenizer(Tokenizer):
    """A tokenizer by the path of its model: `SPMTokenizer("models/spm/spiece.model").encode("Hello")`.

    It stands for that path, too, wherever Python takes one: in `open`, in `Path`, in `SPMTokenizer` itself.
    """

    path: Path | None = None

    def __init__(self, path: str | Path) -> None:
        """Load the model, and check the golden encodings beside it if there are any; faults are a `UserError`."""
        super().__init__(path)
        self.path = Path(path)

    def __fspath__(self) -> str:
        """The path of the model; a tokenizer that was made from bytes has none, which is a `TypeError`."""
        if self.path is None:
            raise TypeError(
                "expected a tokenizer that was loaded from a file, got one that was made from bytes. Write "
                "its bytes to a file, and load that: SPMTokenizer(PATH)"
            )
        return str(self.path)

    def __str__(self) -> str:
        """The path of the model, if it has one."""
        return repr(self) if self.path is None else str(self.path)

    def encode(
        self, text: str, add_bos: bool = False, add_eos: bool = False, *, allowed_special: AllowedSpecial = ()
    ) -> list[int]:
        """The ids of `text`, as `Tokenizer.encode` gives them.

        Arguments:
            text: a str; anything else is a `TypeError`.
            add_bos: whether <bos> goes before them.
            add_eos: whether <eos> goes after them.
            allowed_special: special tokens that `text` may hold as such, by name, or "all" of them.
        """
        ids = super().encode(text, allowed_special=allowed_special)
        before, after = self._around(add_bos, add_eos)
        return [*before, *ids, *after]

    def encode_batch(
        self,
        texts: Iterable[str],
        threads: int = 1,
        *,
        max_len: int | None = None,
        pad_to: int | None = None,
        add_bos: bool = False,
        add_eos: bool = False,
        allowed_special: AllowedSpecial = (),
    ) -> list[Ids]:
        """The ids of each text, as int32 arrays, perhaps read-only.

        Arguments:
            texts: any iterable of str.
            threads: changes the speed and nothing else.
            max_len: ids a text may have, <bos> and <eos> included, which stay; those of its end are left out. None: any
                number.
            pad_to: ids that each array has at least: <pad> fills it up. With a `max_len` of no more than this, all have
                the same length and `numpy.stack` makes them one array. None: nothing is added.
            add_bos: whether <bos> goes before each text.
            add_eos: whether <eos> goes after each text.
            allowed_special: as in `encode`.

        Raises:
            TypeError: a length is no whole number, or `add_bos` or `add_eos` is no truth value.
            ValueError: `max_len` has no room for <bos> and <eos>, or a length is below 0.
        """
        before, after = (np.array(ids, np.int32) for ids in self._around(add_bos, add_eos))
        added = len(before) + len(after)
        _check_length("max_len", max_len, added)
        _check_length("pad_to", pad_to, 0)
        encoded = super().encode_batch(texts, threads, allowed_special=allowed_special)
        if max_len is not None:
            encoded = [ids[: max_len - added] for ids in encoded]
        if added:
            encoded = [np.concatenate([before, ids, after]) for ids in encoded]
        if pad_to is not None:
            encoded = [np.append(ids, np.full(max(pad_to - len(ids), 0), self.pad_id, np.int32)) for ids in encoded]
        return encoded

    def _around(self, add_bos: bool, add_eos: bool) -> tuple[list[int], list[int]]:
        """The ids before and after each text."""
        for name, value in (("add_bos", add_bos), ("add_eos", add_eos)):
            if value not in (False, True):
                raise TypeError(f"{name}: expected True or False, got {value!r}")
        return [self.bos_id] if add_bos else [], [self.eos_id] if add_eos else []

    @classmethod
    def train_from_dir(
        cls,
        input_dir: str | Path,
        model_prefix: str | Path,
        vocab_size: int | None = None,
        *,
        encoding: str | None = None,
        **options: object,
    ) -> "SPMTokenizer":
        """Train on every .txt and .md file below a folder, each a document, and load the result.

        The result is the tokenizer, and may be used as the path of PREFIX.model.

        Args:
            input_dir: folder of text files, or one file. A folder without any, or a file that cannot be read, is a
                `UserError`. Empty and hidden files are left out.
            model_prefix: writes PREFIX.model, PREFIX.vocab and PREFIX_config.json.
            vocab_size: pieces; left out, it comes from params.yaml like every other option, or from aura's own.
            encoding: of the files that are not UTF-8, such as "cp1252"; left out, UTF-8.
            options: any other key of the train_tokenizer section of params.yaml.
        """
        texts = _read_texts(Path(input_dir), encoding)
        changes = options if vocab_size is None else options | {"vocab_size": vocab_size}
        chosen = artifact.with_changes(whole_params.load_or_defaults().train_tokenizer, **changes)
        made = artifact.build_from_texts(texts, chosen)
        prefix = Path(model_prefix)
        made.write(prefix.parent, prefix.name)
        return cls(prefix.parent / f"{prefix.name}.model")


def _check_length(name: str, value: object, least: int) -> None:
    """Refuse what is no number of ids, or one below `least`."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected a whole number of ids, or None; got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected {least} or more{', for <bos> and <eos>' * (least > 0)}; got {value}")


def _read_texts(folder: Path, encoding: str | None) -> list[str]:
    """The documents of a folder; read in this process, as scripts without a main guard call this."""
    source = checked(TxtSource, {"kind": "txt", "path": str(folder), "encoding": encoding}, "train_from_dir")
    texts = []
    for file, text in read_documents(source):
        if isinstance(text, str):
            texts.append(text)
        elif text.reason not in HARMLESS:
            advice = remedy(text.reason)
            also = f"To fix it: {advice}. Otherwise take" if advice else "Take"
            raise UserError(f"{file.path}: {text.reason}. {also} it out of the folder.")
    return texts

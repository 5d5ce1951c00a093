"""The way in which a model reads texts: its tokenizer, how much it reads at once, and what stands before a text.

A model has seen a document begin after <bos>, or after another document's <eos> where training added no <bos>. A text
that begins otherwise is read worse: a <bos> that training never added has a vector of random numbers. Where training
added neither, nothing begins a text as it began documents, and <eos> stands in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aura.tokenizer.opening import AnyTokenizer

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Reader:
    """A model's way to read.

    Attributes:
        tokenizer: of the model.
        context: tokens that it reads at once.
        begin: the id before a text; None if the tokenizer has neither <bos> nor <eos>.
    """

    tokenizer: AnyTokenizer
    context: int
    begin: int | None

    @classmethod
    def of(cls, tokenizer: AnyTokenizer, context: int, *, add_bos: bool) -> "Reader":
        """The reader of a model in whose training <bos> began each document, or did not (`add_bos`)."""
        found = (tokenizer.bos_id, tokenizer.eos_id) if add_bos else (tokenizer.eos_id, tokenizer.bos_id)
        return cls(tokenizer, context, next((token for token in found if token is not None), None))

    def ids(self, text: str) -> Ids:
        """The ids of a text, after `begin`."""
        return self.begun(self.tokenizer.encode(text))

    def begun(self, ids: Sequence[int] | Ids) -> Ids:
        """These ids, after `begin`."""
        found = np.asarray(ids, np.int32)
        return found if self.begin is None else np.concatenate([np.array([self.begin], np.int32), found])

"""Evaluation sets: the items of each, as requests to a model, and the measures of its answers.

During training each set is measured on about `tokens` tokens, spread evenly over its items and always the same ones;
the whole of it is measured when asked for, and both come out of one pass.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aura.core.errors import UserError
from aura.core.keys import action_key
from aura.evaluation import items as files
from aura.evaluation.items import Choice, Cloze, Document, Items
from aura.evaluation.measures import Array, Measure, with_errors
from aura.evaluation.requests import Request, pair_requests, windows
from aura.evaluation.scoring import Scorer, Scores
from aura.model.model import LanguageModel
from aura.tokenizer.opening import AnyTokenizer
from aura.tokenizer.reader import Reader

Measures = dict[str, Measure]
PLOTS = "evaluations"  # the folder of the plots


@dataclass(frozen=True)
class Measured:
    """Measures of a set.

    Attributes:
        part: on the items that training measures.
        whole: on all of them; None unless asked for.
    """

    part: Measures
    whole: Measures | None


class EvaluationSet(ABC):
    """A set of one kind.

    Attributes:
        name: of the set.
        kind: text, multiple_choice or cloze.
        digest: decides what is measured in training, with the tokenizer and the weights.
    """

    measured: tuple[str, ...]  # names of the measures
    greedy = False

    def __init__(self, name: str, found: Items, units: Sequence[Sequence[Request]], tokens: int) -> None:
        self.name, self.kind, self._units = name, found.kind, units
        self._items = len(found.items)
        self._chosen = _spread(units, tokens)
        self.digest = action_key(found.sha256, tokens)

    def measure(
        self, model: LanguageModel, scorer: Scorer, interrupted: Callable[[], bool], *, whole: bool
    ) -> Measured | None:
        """Score the set; returns None as soon as `interrupted` says so. On a mesh every process must call this."""
        chosen = range(len(self._units)) if whole else self._chosen
        requests = [request for number in chosen for request in self._units[number]]
        scores = scorer.scores(model, requests, interrupted, greedy=self.greedy)
        if scores is None:
            return None
        ends = np.cumsum([len(self._units[number]) for number in chosen])
        cut = [slice(end - len(self._units[number]), end) for number, end in zip(chosen, ends.tolist(), strict=True)]
        parts = {
            number: Scores(scores.nats[place], scores.likeliest[place])
            for number, place in zip(chosen, cut, strict=True)
        }
        return Measured(self._measures(parts, self._chosen), self._measures(parts, chosen) if whole else None)

    def told(self, measures: Measures) -> dict[str, Any]:
        """The set as metrics tell it: its kind, items, cut contexts, and measures with standard errors."""
        cut = sum(any(request.cut for request in unit) for unit in self._units)
        facts = {} if self.kind == Document.kind else {"cut_contexts": cut}
        return {"kind": self.kind, "items": self._items, **facts, **with_errors(measures)}

    @abstractmethod
    def _measures(self, scores: Mapping[int, Scores], numbers: Sequence[int]) -> Measures:
        """Measures over the units of these numbers."""


class TextSet(EvaluationSet):
    """Documents, predicted in windows; a unit is a window."""

    measured = ("bits_per_byte",)

    def __init__(self, name: str, found: Items, documents: Sequence[Document], reader: Reader, tokens: int) -> None:
        of_documents = windows(reader, [one.text for one in documents], [one.place for one in documents])
        super().__init__(name, found, [[window] for one in of_documents for window in one], tokens)
        self._document = np.repeat(np.arange(len(documents)), [*map(len, of_documents)])
        shares = [
            _shares(one, reader.tokenizer) * len(document.text.encode())
            for one, document in zip(of_documents, documents, strict=True)
        ]
        self._bytes: Array = np.concatenate(shares)

    def _measures(self, scores: Mapping[int, Scores], numbers: Sequence[int]) -> Measures:
        bits = np.array([scores[number].nats[0] for number in numbers]) / np.log(2)
        bytes_, documents = self._bytes[[*numbers]], self._document[[*numbers]]
        if len(set(documents.tolist())) > 1:  # windows of one document are alike
            _, places = np.unique(documents, return_inverse=True)
            bits, bytes_ = np.bincount(places, bits), np.bincount(places, bytes_).astype(np.float64)
        return {"bits_per_byte": Measure(bits, bytes_)}


class ChoiceSet(EvaluationSet):
    """Multiple choice: a unit is an item, with a request for each choice."""

    measured = ("accuracy", "accuracy_by_length", "bits_per_byte")

    def __init__(self, name: str, found: Items, choices: Sequence[Choice], reader: Reader, tokens: int) -> None:
        pairs = [(one.context, one.delimiter + choice) for one in choices for choice in one.choices]
        places = [one.place for one in choices for _ in one.choices]
        requests = pair_requests(reader, pairs, places)
        super().__init__(name, found, [[next(requests) for _ in one.choices] for one in choices], tokens)
        self._right = [one.right for one in choices]
        self._bytes = [np.array([len(choice.encode()) for choice in one.choices]) for one in choices]
        self._scored_bytes = np.array([len((one.delimiter + one.choices[one.right]).encode()) for one in choices])

    def _measures(self, scores: Mapping[int, Scores], numbers: Sequence[int]) -> Measures:
        right = np.array([self._right[number] for number in numbers])
        best = np.array([scores[number].nats.argmin() for number in numbers])
        by_length = np.array([(scores[number].nats / self._bytes[number]).argmin() for number in numbers])
        bits = np.array([scores[number].nats[self._right[number]] for number in numbers]) / np.log(2)
        return {
            "accuracy": Measure.mean(best == right),
            "accuracy_by_length": Measure.mean(by_length == right),
            "bits_per_byte": Measure.mean(bits / self._scored_bytes[[*numbers]]),
        }


class ClozeSet(EvaluationSet):
    """Contexts with one answer: a unit is an item."""

    measured = ("accuracy", "bits_per_byte")
    greedy = True

    def __init__(self, name: str, found: Items, cloze: Sequence[Cloze], reader: Reader, tokens: int) -> None:
        pairs = [(one.context, one.delimiter + one.answer) for one in cloze]
        requests = pair_requests(reader, pairs, [one.place for one in cloze])
        super().__init__(name, found, [[request] for request in requests], tokens)
        self._bytes = np.array([len((one.delimiter + one.answer).encode()) for one in cloze])

    def _measures(self, scores: Mapping[int, Scores], numbers: Sequence[int]) -> Measures:
        exact = np.array([scores[number].likeliest[0] for number in numbers])
        bits = np.array([scores[number].nats[0] for number in numbers]) / np.log(2)
        return {
            "accuracy": Measure.mean(exact),
            "bits_per_byte": Measure.mean(bits / self._bytes[[*numbers]]),
        }


def open_set(name: str, path: Path, reader: Reader, tokens: int, key: str) -> EvaluationSet:
    """Read a set and encode it.

    Arguments:
        name: of the set.
        path: of its file or folder.
        reader: of the model.
        tokens: about so many of them are measured in training; at least an item.
        key: of the set, which messages begin with, such as pretrain.evaluate.NAME.

    Raises:
        UserError: an item cannot be scored; the message names its file and line.
    """
    found = files.read(key, path)
    kinds = {Document.kind: TextSet, Choice.kind: ChoiceSet, Cloze.kind: ClozeSet}
    try:
        made: EvaluationSet = kinds[found.kind](name, found, found.items, reader, tokens)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    return made


class EvaluationSets:
    """The sets of a run of pretraining.

    Arguments:
        paths: by the names of the sets.
        reader: of the run's tokenizer and sequences.
        rows: sequences in a batch.
        tokens: of each set that are measured during training.

    Raises:
        UserError: an item cannot be scored.
    """

    def __init__(self, paths: Mapping[str, str], reader: Reader, rows: int, tokens: int) -> None:
        self._scorer = Scorer(reader.context, rows)
        self._sets = [
            open_set(name, Path(path), reader, tokens, f"pretrain.evaluate.{name}") for name, path in paths.items()
        ]
        self.told: dict[str, dict[str, Any]] = {}  # the whole sets, as measured last

    @property
    def plots(self) -> dict[str, str]:
        """The name of each plot by that of its measurement in a history, which also tells what file was measured."""
        return {_recorded(one, name): f"{PLOTS}/{one.name}/{name}" for one in self._sets for name in one.measured}

    def measure(self, model: LanguageModel, interrupted: Callable[[], bool], *, whole: bool) -> dict[str, float] | None:
        """Measurements for the history, by names as in `plots`; None if interrupted.

        With `whole`, every item is measured, and `told` has the results.
        """
        found: dict[str, float] = {}
        for one in self._sets:
            measured = one.measure(model, self._scorer, interrupted, whole=whole)
            if measured is None:
                return None
            found |= {_recorded(one, name): measure.value for name, measure in measured.part.items()}
            if measured.whole is not None:
                self.told[one.name] = one.told(measured.whole)
        return found


def _recorded(one: EvaluationSet, measure: str) -> str:
    return f"{PLOTS}/{one.name}@{one.digest[:12]}/{measure}"


def _shares(requests: Sequence[Request], tokenizer: AnyTokenizer) -> Array:
    """The share of a document's bytes that each of its windows stands for; together 1, whatever the tokenizer drops."""
    sizes = np.array([tokenizer.byte_lengths[one.ids[-one.scored :]].sum() for one in requests], np.float64)
    if not sizes.sum():
        sizes = np.array([one.scored for one in requests], np.float64)
    shares: Array = sizes / sizes.sum()
    return shares


def _spread(units: Sequence[Sequence[Request]], tokens: int) -> list[int]:
    """Numbers of units, spread evenly, of about so many tokens together; at least one, and all if they are fewer."""
    read = sum(len(request.ids) - 1 for unit in units for request in unit)
    count = max(1, min(len(units), len(units) * tokens // read))
    return (np.arange(count, dtype=np.int64) * len(units) // count).tolist()

"""Measurements of a run at each step: files beside its checkpoints, and the plots that are copied from them.

DVC deletes a stage's outputs before it runs the stage again, so plots alone could not survive a kill. A file holds
BLOCK steps, one a line; a save writes the last one again, and a resumption copies the lines: neither costs more for
each step than that line, however long the run has been going on.
"""

import math
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aura.training import side_files

if TYPE_CHECKING:
    from dvclive import Live

BLOCK = 10_000  # steps of one file, about 0.8 MB
FURTHER = "/"  # in the name of a measurement that one run has and its resumption may lack: it is no column


@dataclass(frozen=True)
class Row:
    """The measurements of one step.

    Attributes:
        step: counted from 1.
        values: by the names of their plots; without what was not taken.
    """

    step: int
    values: dict[str, float] = field(hash=False)

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it; floats keep every bit."""
        return {"step": self.step, **self.values}

    @classmethod
    def from_record(cls, record: Any, columns: Sequence[str]) -> "Row | None":  # noqa: ANN401 - whatever a file holds
        """The inverse of `to_record`; None of anything else.

        Arguments:
            record: what a file holds, which may be damaged.
            columns: names of the measurements of this kind of run; the first one is always taken. One that is no
                column has `FURTHER` in its name.
        """
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            return None
        taken = {name: value for name, value in record.items() if name != "step" and value is not None}
        known = all(name in columns or FURTHER in name for name in taken) and columns[0] in taken
        known = known and all(isinstance(value, int | float) for value in taken.values())
        return cls(record["step"], taken) if known else None

    def to_line(self, columns: Sequence[str]) -> str:
        """A line of a file: the measurements, of which floats keep every bit, and a checksum."""
        values = (self.values.get(name) for name in columns)
        further = [f"{name}={value!r}" for name, value in self.values.items() if FURTHER in name]
        line = "\t".join([str(self.step), *("" if value is None else repr(value) for value in values), *further])
        return f"{line}\t#{_checksum(line)}\n"

    @classmethod
    def from_line(cls, line: str, columns: Sequence[str]) -> "Row | None":
        """The inverse of `to_line`; None of a line that was cut short or damaged."""
        told, mark, checksum = line.removesuffix("\n").partition("\t#")
        if mark and checksum != _checksum(told):  # an earlier version wrote none
            return None
        try:
            step, *texts = told.split("\t")
            own, further = texts[: len(columns)], (text.rpartition("=") for text in texts[len(columns) :])
            values = {name: float(text) for name, text in zip(columns, own, strict=True) if text}
            values |= {name: float(text) for name, _, text in further if FURTHER in name}
            row = cls(int(step), values)
        except ValueError:
            return None
        is_taken = columns[0] in values if mark else math.isfinite(values.get(columns[0], math.nan))
        return row if line.endswith("\n") and is_taken else None  # the loss of a skipped step need not be finite


class History:
    """The rows of one run, of which only those of the file that is being filled are in memory.

    Arguments:
        folder: of the run's checkpoints.
        columns: names of the measurements; the first one is always taken.
    """

    def __init__(self, folder: str, columns: Sequence[str]) -> None:
        self._folder, self._columns, self._rows = folder, columns, list[Row]()
        self.step = 0

    @property
    def last(self) -> Row | None:
        """The row of the last step taken; None if it is lost, or no step was taken."""
        return self._rows[-1] if self._rows and self._rows[-1].step == self.step else None

    def go_on(self, step: int, source: str, last: Row | None) -> None:
        """Go on after `step` steps of the run whose checkpoints are in `source`; `last` is the row of that step."""
        self.step = step
        self._rows = self._read(source, _block_of(step), step)
        if last and self.last is None:
            self._rows.append(last)

    def add(self, row: Row) -> None:
        """Take up the row of the next step, or put another one in the place of the last one."""
        if self._rows and self._rows[-1].step == row.step:
            self._rows.pop()
        self._rows.append(row)
        self.step = row.step

    def save(self, *, write: bool = True) -> None:
        """Write the rows in memory to their files (one process does); then only those of the last file stay there."""
        for block in sorted({_block_of(row.step) for row in self._rows}) if write else ():
            self._write(block, [row for row in self._rows if _block_of(row.step) == block])
        self._rows = [row for row in self._rows if _block_of(row.step) == _block_of(self.step)]

    def past(self, source: str) -> Iterator[list[Row]]:
        """The rows of all steps before the last one, file by file; those of another run become this run's own too."""
        for block in range(_block_of(self.step)):
            rows = self._read(source, block, self.step - 1)
            if source != self._folder:
                self._write(block, rows)
            yield rows
        yield [row for row in self._rows if row.step < self.step]

    def _read(self, source: str, block: int, until: int) -> list[Row]:
        """The readable rows of a file, up to step `until`."""
        lines = (side_files.read(_file(source, block)) or "").splitlines(keepends=True)
        rows = {
            row.step: row
            for line in lines
            if (row := Row.from_line(line, self._columns)) and _block_of(row.step) == block
        }
        return [rows[step] for step in sorted(rows) if step <= until]

    def _write(self, block: int, rows: list[Row]) -> None:
        side_files.write(_file(self._folder, block), "".join(row.to_line(self._columns) for row in rows))


class Plots:
    """The plots of a run: each step's row once, those before a resumption too; and metrics.json at the end.

    DVCLive writes them. It is imported for the first row: with pandas it takes 0.4 s, in which the second step runs.

    Arguments:
        folder: where to write, or None in a process that writes nothing.
        further: names of plots, by those of measurements that are no columns; any other such measurement has no plot.
    """

    def __init__(self, folder: Path | None, further: Mapping[str, str] | None = None) -> None:
        self._folder, self._further = folder, further or {}

    def __enter__(self) -> "Plots":
        """Remove what an earlier run left; the end of the block writes metrics.json."""
        if self._folder is not None:
            (self._folder / "metrics.json").unlink(missing_ok=True)
            shutil.rmtree(self._folder / "plots/metrics", ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Write metrics.json, if there was a row."""
        if "_live" in vars(self):
            self._live.end()

    def write(self, row: Row) -> None:
        """Append the row of a step."""
        if self._folder is None:
            return
        self._live.step = row.step
        for name, value in self._plotted(row):
            self._live.log_metric(name, value)

    def copy(self, blocks: Iterator[list[Row]]) -> int:
        """Append rows as DVCLive writes them, without its call for each; how many there were."""
        if self._folder is None:
            return 0
        folder, copied = Path(self._live.plots_dir, "metrics"), 0
        folder.mkdir(parents=True, exist_ok=True)
        for rows in blocks:
            lines: dict[str, list[str]] = {}
            for row in rows:
                for name, value in self._plotted(row):
                    lines.setdefault(name, []).append(f"{row.step}\t{value!r}\n")
            for name, of_plot in lines.items():
                path = folder / f"{name}.tsv"
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write(f"step\t{path.stem}\n" if file.tell() == 0 else "")
                    file.writelines(of_plot)
            copied += len(rows)
        return copied

    def sum_up(self, results: dict[str, Any]) -> None:
        """Have `results` stand in metrics.json, beside the number of the last step."""
        if self._folder is not None:
            self._live.summary = results

    @cached_property
    def _live(self) -> "Live":
        from dvclive import Live

        # By default DVCLive edits dvc.yaml.
        return Live(str(self._folder), dvcyaml=None, save_dvc_exp=False, report=None)

    def _plotted(self, row: Row) -> Iterator[tuple[str, float]]:
        """Names of the plots of a row, and their values."""
        for name, value in row.values.items():
            if FURTHER not in name:
                yield name, value
            elif name in self._further:
                yield self._further[name], value


def _checksum(line: str) -> str:
    return f"{zlib.crc32(line.encode()):08x}"


def _block_of(step: int) -> int:
    """The number of the file in which a step's row lies; steps count from 1."""
    return max(0, step - 1) // BLOCK


def _file(folder: str, block: int) -> Any:  # noqa: ANN401 - a path of etils
    return side_files.place(folder) / "history" / f"{block:06d}.tsv"

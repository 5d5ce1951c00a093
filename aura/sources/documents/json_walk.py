"""Values taken off a text one after the other, over a window that grows while a value has not ended."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aura.sources.documents import json_values
from aura.sources.documents.document import Item, Lost
from aura.sources.documents.fields import chat, is_turn

GROWTH = 64_000, 4_000_000  # characters: a window grows by its own length, but by at least and at most so many
SEPARATOR = "\x1e"  # begins a record in JSON text sequences (RFC 7464); never part of a value
_SKIPPED = re.compile(f"[ \t\n\r\x0b\x0c{SEPARATOR}\ufeff]*")
_SPACES = re.compile("[ \t\r]*")
_OPENING = re.compile("\\[[ \t\r\n]*")
_WHITE = re.compile("[ \t\n\r\x0b\x0c\ufeff]*")
_IN_STRING, _OUTSIDE = re.compile(r'\\[^\n\x1e]|["\n\x1e]'), re.compile(r'["{}\[\]\n\x1e]')
LONG = 1000  # characters: more than an indentation has
_TOO_LARGE = "too large"
_NEAR = 12  # characters: a value that is cut by the window's end may look faulty so near to it; the longest word has 9
_Value = Any  # any JSON value


@dataclass(slots=True)
class Record:
    """A value, and where in the file it is."""

    value: _Value
    unit: str
    number: int

    @property
    def place(self) -> str:
        """The same in words."""
        return f"{self.unit} {self.number}"


@dataclass
class _Array:
    """A top-level array that is being taken apart."""

    line: int
    items: int = 0
    expected: str = "item or end"  # or "item", "comma or end"; after a fault "anything"
    faulty: bool = False

    @property
    def unit(self) -> str:
        return "item" if self.line == 1 else f"line {self.line}, item"


class _Fault(Exception):
    """The value at the window's position cannot be read: why, and at which character of the window."""

    def __init__(self, reason: str, position: int) -> None:
        self.reason, self.position = reason, position


class Walk:
    """A walk over `line` and, as far as values need them, over the `lines` behind it.

    An array stands for its items; with `chats`, one whose items are the turns of a chat is a value of its own.
    """

    def __init__(self, line: bytes, number: int, lines: Iterator[Item], limit: int, *, chats: bool = False) -> None:
        self.lines, self.limit, self.chats = lines, limit, chats
        self.text, self.at = _decoded(line), 0
        self.line, self.counted = number, 0  # the number of the line at a position
        self.ended = False
        self.begins_inside = False  # whether the window begins inside a line
        self.broken: Lost | None = None  # why the file cannot be read on
        self.array: _Array | None = None

    def records(self) -> Iterator[Record | Lost]:
        """Yield records and losses until every value that was begun has ended at the end of a line, or of the file."""
        while True:
            separated = self._skip()
            if separated and self.array:
                yield from self._close_faulty()
            if self.at == len(self.text):
                if self._is_done():
                    break
                if not self._grow():
                    yield from self._close_faulty()
                    break
            elif self.array:
                yield from self._array_step(self.array)
            elif self.text[self.at] == "[":
                line = self._line_at(self.at)
                found = self._chat() if self.chats else None
                if found is None:
                    self.array = _Array(line)
                    self.at += 1
                else:
                    yield Record(found, "line", line)
            else:
                yield from self._top_value()
        self._line_at(self.at)
        if self.broken:
            yield self.broken

    def _is_done(self) -> bool:
        return not self.array and (self.ended or self.text.endswith("\n"))

    def _skip(self) -> bool:
        """Go to the next value or mark; returns whether a separator of records was passed."""
        found = _SKIPPED.match(self.text, self.at)
        before, self.at = self.at, found.end() if found else self.at
        return SEPARATOR in self.text[before : self.at]

    def _close_faulty(self) -> Iterator[Lost]:
        """An array that does not end is malformed, unless that was said of it."""
        if self.array and not self.array.faulty:
            yield Lost("malformed JSON", f"{self.array.unit} {self.array.items + 1}")
        self.array = None

    def _top_value(self) -> Iterator[Record | Lost]:
        start, line = self.at, self._line_at(self.at)
        try:
            value, start, end = self._value()
        except _Fault as fault:
            yield self._recovered(fault, "line", line)
            return
        if self._is_too_large(start, end):
            self.at = end
            yield self._too_large("line", line)
            return
        end = self._past(_SPACES, end)
        if not self._may_follow(end):
            yield self._recovered(_Fault("malformed JSON", end), "line", line)
            return
        self.at = end
        yield Record(value, "line", line)

    def _chat(self) -> _Value | None:
        """The array at the window's position, which is then passed, if it is a chat of up to `limit` bytes."""
        while (found := _OPENING.match(self.text, self.at)) and found.end() == len(self.text):
            if len(self.text) - self.at > LONG or not self._grow():
                return None
        try:
            ahead = found.end() - self.at if found else 0
            if self.text[self.at + ahead] != "{" or not is_turn(self._value(ahead)[0]):
                return None
            value, start, end = self._value()
        except _Fault:
            return None
        if self._is_too_large(start, end) or not all(map(is_turn, value)) or chat(value) is None:
            return None
        end = self._past(_SPACES, end)
        if not self._may_follow(end):
            return None
        self.at = end
        return value

    def _may_follow(self, at: int) -> bool:
        """Return whether a whole value may end before `at`: at a line's end, before another value, not inside one."""
        following = self.text[at : at + 1]
        apart = at > 0 and self.text[at - 1] in " \t"
        return not following or following in '\n\x0b\x0c\x1e\ufeff{["' or (apart and following in "-0123456789tfnNI")

    def _array_step(self, array: _Array) -> Iterator[Record | Lost]:
        """Go over one mark or item of an array."""
        mark = self.text[self.at]
        if mark == "]":
            self.at += 1
            self.array = None
            if array.expected == "item":
                yield Lost("malformed JSON", f"{array.unit} {array.items + 1}")
        elif mark == "," and array.expected in ("comma or end", "anything"):
            self.at += 1
            array.expected = "item"
        elif array.expected == "comma or end":
            yield from self._without_comma(array)
        else:
            yield from self._item(array)

    def _without_comma(self, array: _Array) -> Iterator[Lost]:
        """An item that no comma precedes: on a line of its own it is read, elsewhere the line is lost from there."""
        before = self._before()
        if before is None or before.strip():
            yield self._recovered(_Fault("malformed JSON", self.at), array.unit, array.items + 1)
        elif not array.faulty:
            array.faulty = True
            yield Lost("malformed JSON", f"{array.unit} {array.items + 1}")
        array.expected = "anything"

    def _item(self, array: _Array) -> Iterator[Record | Lost]:
        number = array.items + 1
        try:
            value, start, end = self._value()
        except _Fault as fault:
            array.items += 1
            array.expected = "anything"
            yield self._recovered(fault, array.unit, number)
            return
        too_large = self._is_too_large(start, end)
        end = self._past(_WHITE, end)
        if end == len(self.text) and not isinstance(value, dict | list | str):
            self.at = end
            return  # a number that the file's end may have cut
        array.items += 1
        array.expected = "comma or end"
        if self.text[end : end + 1] not in ",]" and not isinstance(value, dict | list):
            array.expected = "anything"
            yield self._recovered(_Fault("malformed JSON", end), array.unit, number)
            return
        self.at = end
        yield self._too_large(array.unit, number) if too_large else Record(value, array.unit, number)

    def _value(self, ahead: int = 0) -> tuple[_Value, int, int]:
        """The value `ahead` behind the window's position, with that and its end in the window, which may have moved."""
        while True:
            position = len(self.text)
            try:
                value, end = json_values.scan(self.text, self.at + ahead)
            except StopIteration as error:
                position, is_cut = error.value, False
            except json.JSONDecodeError as error:
                position, is_cut = error.pos, error.msg.startswith("Unterminated")
            except RecursionError:
                raise _Fault("JSON nested too deeply", self.at) from None
            except ValueError:  # a number of more digits than Python reads
                raise _Fault("malformed JSON", self.at) from None
            else:
                has_end, length = isinstance(value, dict | list | str), end - self.at
                if has_end and length > self.limit:
                    raise _Fault(_TOO_LARGE, end)
                if end < len(self.text) - (0 if has_end else _NEAR) or not self._grow():
                    return value, self.at, self.at + length
                continue
            distance = position - self.at
            if is_cut or position >= len(self.text) - _NEAR:  # what follows may make it a value
                if len(self.text) - self.at > self.limit + _NEAR:
                    raise _Fault(_TOO_LARGE, position)
                if self._grow():
                    continue
            raise _Fault(_TOO_LARGE if distance > self.limit else "malformed JSON", self.at + distance)

    def _past(self, spaces: "re.Pattern[str]", at: int) -> int:
        """The first position from `at` on that is none of `spaces`; the window grows until it is known."""
        while True:
            found = spaces.match(self.text, at)
            at = found.end() if found else at
            if at < len(self.text):
                return at
            ahead = at - self.at
            if not self._grow():
                return self.at + ahead
            at = self.at + ahead

    def _is_too_large(self, start: int, end: int) -> bool:
        if (end - start) * 4 <= self.limit:
            return False
        return len(self.text[start:end].encode("utf-8", "surrogatepass")) > self.limit

    def _too_large(self, unit: str, number: int) -> Lost:
        return Lost(f"JSON record of more than {self.limit:,} bytes", f"{unit} {number}")

    def _recovered(self, fault: _Fault, unit: str, number: int) -> Lost:
        """Go to where reading can go on behind the faulty record at the window's position."""
        array = self.array
        if fault.reason == _TOO_LARGE:
            ended = self._skip_value()
            if array:
                array.expected = "comma or end" if ended else "anything"
                array.faulty |= not ended
            return self._too_large(unit, number)
        if array:
            array.faulty = True
        self._skip_lines(self._indentation(fault))
        return Lost(fault.reason, f"{unit} {number}")

    def _indentation(self, fault: _Fault) -> str | None:
        """Of the faulty record's first line, if it has several lines; `None` if reading can go on with the next."""
        ahead = fault.position - self.at
        length = self._length_of_line(0)
        is_bracket = length > 0 and self.text[self.at : self.at + length].rstrip() in ("{", "[")
        if length < 0 or (not is_bracket and (ahead <= length or self._is_whole_line(length + 1))):
            return None
        before = self._before()
        return "" if before is None or before.strip() else before

    def _before(self) -> str | None:
        """The line up to the window's position; `None` if it is too long to be there."""
        start = self.text.rfind("\n", 0, self.at) + 1
        return None if self.at - start > LONG or (start == 0 and self.begins_inside) else self.text[start : self.at]

    def _length_of_line(self, ahead: int) -> int:
        """Return the length of the line that goes on `ahead` behind the window's position; -1 if beyond the limit."""
        while self.text.find("\n", self.at + ahead) < 0 and len(self.text) - self.at <= self.limit and self._grow():
            pass
        end = self.text.find("\n", self.at + ahead)
        length = (len(self.text) if end < 0 else end) - self.at
        return length if length <= self.limit else -1

    def _is_whole_line(self, ahead: int) -> bool:
        """Return whether the line that begins there is a value: a record was cut short before it."""
        length = self._length_of_line(ahead)
        if length < 0:
            return False
        line = self.text[self.at + ahead : self.at + length]
        try:
            _, end = json_values.scan(line, 0)
        except (StopIteration, ValueError, RecursionError):
            return False
        rest = line[end:].strip()
        return not rest or (rest == "," and self.array is not None)

    def _skip_lines(self, indentation: str | None) -> None:
        """Go to the next line; or, with an indentation, to the next that begins a record with it or ends the array."""
        while True:
            end = self.text.find("\n", self.at)
            separator = self.text.find(SEPARATOR, self.at, end if end >= 0 else len(self.text))
            if separator >= 0:
                self.at = separator
                return
            if end < 0:
                self.at = len(self.text)
                if not self._grow():
                    return
                continue
            self.at = end + 1
            if indentation is None or self._begins(indentation):
                return

    def _begins(self, indentation: str) -> bool:
        while len(self.text) - self.at <= LONG and self._grow():
            pass
        if self.text.startswith((indentation + "{", indentation + "["), self.at):
            return True
        if not self.array:
            return False
        found = _SPACES.match(self.text, self.at)
        end = found.end() if found else self.at
        return self.text.startswith("]", end) and end - self.at < (len(indentation) or LONG)

    def _skip_value(self) -> bool:
        """Go behind a value that is too large to hold, or to the next line where it has none; whether it ended."""
        one_line = "\n" not in self.text[self.at : self.at + self.limit]
        depth, in_string = 0, False
        while True:
            match = (_IN_STRING if in_string else _OUTSIDE).search(self.text, self.at)
            if match is None:
                self.at = len(self.text) - (in_string and self.text.endswith("\\", self.at))
                if not self._grow():
                    self.at = len(self.text)
                    return False
                continue
            mark, self.at = match[0], match.end()
            if mark == SEPARATOR:
                self.at -= 1
                return False
            if mark == "\n":
                if in_string or one_line:
                    return False
                continue
            if mark == '"':
                in_string = not in_string
            elif not in_string:
                depth += (mark in "{[") - (mark in "}]")
            if depth <= 0 and not in_string:
                return True

    def _line_at(self, position: int) -> int:
        self.line += self.text.count("\n", self.counted, position)
        self.counted = position
        return self.line

    def _grow(self) -> bool:
        """Drop what was read and add what follows; returns whether anything does."""
        start = self.text.rfind("\n", 0, self.at) + 1
        if self.at - start > LONG:  # the indentation is kept, a long line before the position is not
            start = self.at
        self.begins_inside = self.text[start - 1] != "\n" if start else self.begins_inside
        self._line_at(start)
        held = [self.text[start:]]
        least, most = GROWTH
        wanted = min(max(least, len(held[0])), most)
        while wanted > 0 and not self.ended:
            line = next(self.lines, None)
            if line is None or isinstance(line, Lost):
                self.ended, self.broken = True, line
                break
            held.append(_decoded(line))
            wanted -= len(held[-1])
        self.text, self.at, self.counted = "".join(held), self.at - start, 0
        return len(held) > 1


def _decoded(line: bytes) -> str:
    """Bytes that are no UTF-8 are smuggled through, to be counted in their own document."""
    text = line.decode("utf-8", "surrogateescape")
    return text.rstrip("\r\n") + "\n" if line.endswith((b"\n", b"\r")) else text

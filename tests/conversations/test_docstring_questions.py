"""Questions about a module: one form of answer each, and no answer where the docstring has none."""

import pytest

from aura.conversations.docstring_questions import questions

MODULE = b'''
"""A module."""

def join(a, p, *rest, sep=", ") -> str:
    """Join two paths. More about it.

    Returns
    -------
    path : str
        The joined path.
    """

def size(values) -> int:
    """Number of values."""

def clear():
    """Removes all :class:`~a.b.Entry` objects.

    Returns:
      The number of entries.
    """

def _private(a):
    """Return it."""

def bare(a):
    return a

class Queue(list):
    """A queue of ``jobs``."""

    def __init__(self, limit):
        """Begin."""

    def pop_first(self, block=True):
        """Identify the first
        job."""

class Pair(NamedTuple):
    """A pair of numbers."""
    first: int
    second: int
'''


def test_the_questions_about_a_module_and_their_answers():
    found = list(questions(MODULE, "pack/__init__.py"))
    asked = [message for conversation in found for message in conversation.messages]
    answers = {asked[place].content: asked[place + 1].content for place in range(0, len(asked), 2)}
    assert {message.role for message in asked[::2]} == {"user"}
    assert {message.role for message in asked[1::2]} == {"assistant"}
    join = "the function `join(a, p, *rest, sep) -> str` of `pack`"
    assert answers == {
        f"What does {join} do?": "`join` joins two paths.",
        f"Which arguments does {join} take?": "`join` takes four arguments: `a`, `p`, `*rest` and `sep`.",
        f"What does {join} return?": "`join` returns a value of type `str`, called `path`.",
        "Which arguments does the function `size(values) -> int` of `pack` take?": "`size` takes one argument: "
        "`values`.",
        "What does the function `size(values) -> int` of `pack` return?": "`size` returns a value of type `int`.",
        "What does the function `clear()` of `pack` do?": "`clear` removes all `a.b.Entry` objects.",
        "Which arguments does the function `clear()` of `pack` take?": "`clear` takes no arguments.",
        "What does the function `clear()` of `pack` return?": "`clear` returns the number of entries.",
        "What does the class `Queue(limit)` of `pack` do?": "`Queue` is a queue of `jobs`.",
        "Which arguments does the class `Queue(limit)` of `pack` take?": "`Queue` takes one argument: `limit`.",
        "What does the method `Queue.pop_first(block)` of `pack` do?": "`pop_first` identifies the first job.",
        "Which arguments does the method `Queue.pop_first(block)` of `pack` take?": "`pop_first` takes one argument: "
        "`block`.",
        "What does the class `Pair` of `pack` do?": "`Pair` is a pair of numbers.",  # its arguments are its fields
    }
    assert {conversation.group for conversation in found} == {"pack/__init__.py"}
    assert len({conversation.split_key for conversation in found}) == 1
    assert len({conversation.name for conversation in found}) == len(found)


@pytest.mark.parametrize("source", [b"def broken(:\n", b"\x00", b"x = " + b"(" * 300 + b")" * 300])
def test_what_is_no_python_raises(source: bytes):
    with pytest.raises((SyntaxError, ValueError, RecursionError, MemoryError)):
        list(questions(source, "a.py"))

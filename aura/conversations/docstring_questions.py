"""Questions about the functions and classes of a module, with answers made of its signatures and docstrings.

Three questions: what something does, which arguments it takes, and what it returns. Answers are whole sentences of one
form each, so a small model can learn the form within minutes, and must copy or know the rest. Only docstrings whose
first sentence has one of two forms give an answer to the first question: a verb of `_VERBS` first, as in "Compute the
norm", or a noun phrase for a class, as in "A queue of jobs". The others are passed over, because an answer in bad
English would be learnt as well. Half of the functions with several answers become one conversation of several turns.

Only definitions at the top of a module and methods at the top of its classes are read, and no expression is visited.
Parsing is most of the time (10 ms a module).
"""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from aura.conversations.conversation import Conversation, Message

# Those whose docstrings give questions, of the packages of the sample corpus: 14,000 conversations from 6 packages.
PACKAGES = ("flax", "networkx", "numpy", "optax", "pandas", "scipy")
_VERB_LIST = """
accept access accumulate add adjust aggregate align allocate allow append apply approximate assemble assert assign
attach average bind broadcast build calculate call cast change check choose clean clear clip close collect combine
compare compile complete compute concatenate configure construct contain convert copy count create cut decode
decompose decrease define delete derive describe detect determine differentiate disable display divide draw drop dump
emit enable encode ensure enumerate erase estimate evaluate exclude execute expand export extend extract fetch fill
filter find fit flatten flip format freeze generate get give group handle hash identify implement import increase
indicate infer initialize insert inspect integrate interpolate intersect invert iterate join keep label launch limit
list load locate log look lower make manage map mark mask match measure merge minimize modify move multiply normalize
notify obtain open optimize order override pack pad parse partition pass perform permute pick place plot pop predict
prepare print process produce project propagate provide pull push put query raise read rebuild receive record reduce
register reload remove rename render reorder repeat replace report represent request require reset reshape resolve
restore retrieve return reverse roll rotate round run sample save scale scan search select send separate serialize set
shift show shuffle shut simplify simulate skip slice solve sort specify split stack start stop store strip subtract
sum summarize swap take test tile trace train transform translate transpose traverse truncate try unpack unregister
update use validate verify view visit wait warn wrap write yield
"""
_VERBS = frozenset(_VERB_LIST.split())
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MOST_ARGUMENTS = len(_NUMBERS) - 1
_LEAST, _MOST = 10, 240  # characters of a sentence that is an answer
_SIGNATURE = 160  # characters
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_MARKUP = re.compile(r":[a-z:]+:`~?\.?([^`<]*)(?:<[^`]*>)?`|``([^`]*)``|`([^`<]*)(?:<[^`]*>)?`_{0,2}")
_NO_SENTENCE = re.compile(r"^\.\.|>>>|::|[|*_]{2}|[^\x20-\x7e]|\bdeprecated\b", re.IGNORECASE)
_RETURNS = re.compile(
    r"^[ ]*(?:Returns\n[ ]*-{3,}\n|Returns:[ ]*\n)(.*?)(?=\n\s*\n|\n[ ]*\w+\n[ ]*-{3,}|\Z)", re.M | re.S
)
_ARTICLES = ("A ", "An ", "The ", "a ", "an ", "the ")
_TYPED = re.compile(r"^(?:(?P<name>\w+)\s*:\s*)?(?P<type>[\w.\[\], ]{2,60}?)(?:,\s*optional)?$")


@dataclass(frozen=True)
class _Defined:
    """A function, a method or a class: its name below the module, its arguments and its docstring."""

    name: str
    is_class: bool
    arguments: tuple[str, ...]
    signature: str
    annotation: str
    docstring: str

    @property
    def call(self) -> str:
        return f"`{self.signature}`"

    @property
    def kind(self) -> str:
        return "class" if self.is_class else "method" if "." in self.name else "function"


def questions(source: bytes, file: str) -> Iterator[Conversation]:
    """Yield the conversations about a module, one group: `file` is its name below its package's folder.

    Raises SyntaxError, ValueError, RecursionError or MemoryError for what is no Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in other people's string literals
        module = ast.parse(source)
    named = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for defined in _definitions(module.body, ""):
        turns = list(_turns(defined, named))
        if len(turns) > 1 and xxhash.xxh3_64_intdigest(f"{named}.{defined.name}".encode()) % 2:
            messages = tuple(message for turn in turns for message in turn)
            yield Conversation(f"{file}:{defined.name}", messages, file)
        else:
            yield from (
                Conversation(f"{file}:{defined.name}#{number}", turn, file) for number, turn in enumerate(turns)
            )


def _definitions(body: list[ast.stmt], within: str) -> Iterator[_Defined]:
    """The public definitions of a module or a class, in order."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        docstring = ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef):
            makers = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
            yield _defined(within + node.name, makers[0] if makers else None, docstring, is_class=True)
            if not within:
                yield from _definitions(node.body, f"{node.name}.")
        else:
            yield _defined(within + node.name, node, docstring, is_class=False)


def _defined(
    name: str, node: ast.FunctionDef | ast.AsyncFunctionDef | None, docstring: str, *, is_class: bool
) -> _Defined:
    if node is None:
        return _Defined(name, is_class, (), name, "", docstring)
    plain = node.args.posonlyargs + node.args.args
    is_bound = bool(plain) and plain[0].arg in ("self", "cls")
    arguments = [one.arg for one in plain[is_bound:]]
    arguments += [f"*{node.args.vararg.arg}"] if node.args.vararg else []
    arguments += [one.arg for one in node.args.kwonlyargs]
    arguments += [f"**{node.args.kwarg.arg}"] if node.args.kwarg else []
    annotation = ast.unparse(node.returns) if node.returns and not is_class else ""
    signature = f"{name}({', '.join(arguments)})"
    if annotation and annotation != "None" and len(annotation) < 50:
        signature += f" -> {annotation}"
    return _Defined(name, is_class, tuple(arguments), signature, annotation, docstring)


def _turns(defined: _Defined, module: str) -> Iterator[tuple[Message, Message]]:
    """The questions about one definition, each with its answer."""
    if len(defined.signature) > _SIGNATURE or not defined.docstring:
        return
    name, of = f"`{defined.name.rpartition('.')[2]}`", f"the {defined.kind} {defined.call} of `{module}`"
    if does := _purpose(defined, name):
        yield Message("user", f"What does {of} do?"), Message("assistant", does)
    states_arguments = "(" in defined.signature  # a class without its own __init__ may have those of its fields
    if states_arguments and len(defined.arguments) <= _MOST_ARGUMENTS:
        yield Message("user", f"Which arguments does {of} take?"), Message("assistant", _taken(defined.arguments, name))
    if not defined.is_class and (returned := _returned(defined, name)):
        yield Message("user", f"What does {of} return?"), Message("assistant", returned)


def _purpose(defined: _Defined, name: str) -> str:
    """The purpose of something, by the first sentence of its docstring; empty if that has no form of `_VERBS`."""
    sentence = _first_sentence(defined.docstring)
    first, _, rest = sentence.partition(" ")
    verb = first.lower()
    if not rest or not first.isalpha():
        return ""
    if verb in _VERBS:
        return f"{name} {_third_person(verb)} {rest}."
    if verb in _THIRD_PERSONS:
        return f"{name} {verb} {rest}."
    if defined.is_class and verb in ("a", "an", "the"):
        return f"{name} is {verb} {rest}."
    return ""


def _first_sentence(text: str) -> str:
    """The first sentence of a docstring, without its end; empty if it is none to quote."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    end = _SENTENCE_END.search(paragraph)
    sentence = _MARKUP.sub(lambda found: f"`{(found[1] or found[2] or found[3] or '').strip()}`", paragraph)
    if end:
        found = _SENTENCE_END.search(sentence)
        sentence = sentence[: found.start()] if found else sentence
    is_whole = sentence.count("`") % 2 == 0 and sentence.count("(") == sentence.count(")")
    if not is_whole or not _LEAST <= len(sentence) <= _MOST or _NO_SENTENCE.search(sentence):
        return ""
    return sentence.rstrip(" :;,")


def _third_person(verb: str) -> str:
    if verb.endswith(("s", "sh", "ch", "x", "z", "o")):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if verb[-1] == "y" and verb[-2] not in "aeiou" else f"{verb}s"


_THIRD_PERSONS = frozenset(map(_third_person, _VERBS))


def _taken(arguments: tuple[str, ...], name: str) -> str:
    """A sentence that counts and names the arguments."""
    quoted = [f"`{argument}`" for argument in arguments]
    if not quoted:
        return f"{name} takes no arguments."
    if len(quoted) == 1:
        return f"{name} takes one argument: {quoted[0]}."
    return f"{name} takes {_NUMBERS[len(quoted)]} arguments: {', '.join(quoted[:-1])} and {quoted[-1]}."


def _returned(defined: _Defined, name: str) -> str:
    """The result of a function, by its docstring's section on that or its annotation; empty if neither says it."""
    if defined.annotation == "None":
        return f"{name} returns nothing."
    found = _RETURNS.search(defined.docstring)
    if found and (first := found[1].strip().partition("\n")[0].strip()):
        if (typed := _TYPED.match(first)) and not first.startswith(_ARTICLES):
            of = f"a value of type `{typed['type'].strip()}`"
            return f"{name} returns {of}, called `{typed['name']}`." if typed["name"] else f"{name} returns {of}."
        sentence = _first_sentence(found[1])
        if sentence.startswith(_ARTICLES):
            return f"{name} returns {sentence[0].lower()}{sentence[1:]}."
    annotation = defined.annotation
    return f"{name} returns a value of type `{annotation}`." if annotation and len(annotation) < 50 else ""

"""Text of others, made fit to be shown: without secrets in addresses, and without what a terminal would obey.

File names, model cards, replies of servers and messages of libraries hold what somebody else wrote. `aura.core.console`
passes all that it prints through `escaped`, and all messages through `without_secrets`.
"""

import re
import unicodedata
from urllib.parse import parse_qsl, urlsplit

_SECRET = re.compile(
    r"(^|[-_])(sig|signature|secret|pass|password|passwd|pwd|credentials?|auth|jwt|\w*token|(aws)?(api|access)?key(id)?)$",
    re.IGNORECASE,
)
# A user, with an @ in the password or not; and a password with a slash, by which what is before it is no port.
_USER = re.compile(r"://(?:[^/\s:@]*:(?!:|\d*(?:[/\s?#'\"]|$))[^\s]*@|[^/\s]*@)")
_QUERY = re.compile(r"(://[^\s?'\"]*)\?(?:(?!::)[^\s'\"])*")
_TOKEN = re.compile(r"\b(?:hf_|gh[opsur]_|github_pat_|glpat-|ya29\.|AIza)[A-Za-z0-9_.-]{16,}")


def escaped(text: str) -> str:
    """`text` with every character that is not printed as itself written as Python writes it (`\\x1b`, `\\u202e`).

    Line ends, tabs and all spaces with a width stay. Escape sequences, backspaces, carriage returns, marks of direction
    and characters without a width do not.
    """
    if text.isprintable():
        return text
    return "".join(character if _is_plain(character) else _spelt(character) for character in text)


def on_one_line(name: str) -> str:
    """A name, such as that of a file, as `escaped`, and without line ends: it cannot pass for a message of its own."""
    return escaped(name).replace("\n", "\\n").replace("\t", "\\t")


def _is_plain(character: str) -> bool:
    return character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs"


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def without_secrets(text: str) -> str:
    """`text` with user, password and query left out of every address, and without tokens of known forms.

    A redirect's query holds a signature. A password may hold an @, and a query ends where another address is chained
    to it (`zip://a::https://…`).
    """
    return _TOKEN.sub("***", _QUERY.sub(r"\1", _USER.sub("://", text)))


def holds_secret(url: str) -> bool:
    """Return whether an address holds a password, or something like a key in its query or fragment."""
    for part in url.split("::"):
        try:
            found = urlsplit(part)
        except ValueError:  # such as a bracket in the host
            return "@" in part
        user = found.netloc.rpartition("@")[0]
        if found.scheme not in ("github", "git") and (":" in user or (user and found.scheme in _NO_PLAIN_USER)):
            return True
        if "://" in part and not user and _USER.search(part):
            return True
        queries = (found.query, found.fragment)
        if any(_SECRET.search(name) for query in queries for name, _ in parse_qsl(query, keep_blank_values=True)):
            return True
    return _TOKEN.search(url) is not None


_NO_PLAIN_USER = ("http", "https")  # a user alone is a token there

"""Parity over parallel text: what each of 7 languages costs in tokens, by whom a tokenizer was trained for.

    python benchmarks/parity.py WORK [--size 8000 32000]

The text is LibreOffice's help as Debian packages it (fetched into WORK with apt-get where it is missing). Its
paragraphs bear ids that are the same in all languages, which aligns them; one is measured where all languages have it,
each in words other than English's, so that untranslated text (most of the Hindi help) is left out. The paragraphs
of every second page are for training ours, whether all languages have them or not; only other pages are measured. Ours
have params.yaml's options and the vocabulary sizes given; those of Mistral are the files in the package mistral_common.
"""

import argparse
import subprocess
import zlib
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import mistral_common
from measure import machine

from aura.compare import comparison
from aura.project import whole_params
from aura.tokenizer import foreign
from aura.tokenizer.foreign import Foreign
from aura.train_tokenizer import artifact

LANGUAGES = ("en-us", "de", "fr", "ru", "hi", "ja", "zh-cn")
ENGLISH = LANGUAGES[0]
TAGS = ("p", "h1", "h2", "h3", "h4", "h5", "h6")
MISTRAL = {
    "Mistral v3, 32,768": "mistral_instruct_tokenizer_240323.model.v3",
    "Mistral tekken, 131,072": "tekken_240911.json",
}
Key = tuple[str, str]  # page, id of the paragraph
Paragraphs = dict[Key, dict[str, str]]  # its text by language


class Page(HTMLParser):
    """The text of the paragraphs and headings that have an id."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: dict[str, list[str]] = {}
        self._open: tuple[str, str] | None = None  # tag, id
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a paragraph."""
        name = dict(attrs).get("id") or ""
        if tag in TAGS and name.startswith(("par_id", "hd_id")) and name not in self.parts:
            self._open, self.parts[name] = (tag, name), []

    def handle_endtag(self, tag: str) -> None:
        """End it."""
        if self._open and tag == self._open[0]:
            self._open = None

    def handle_data(self, data: str) -> None:
        """Take its text."""
        if self._open:
            self.parts[self._open[1]].append(data)


def fetched(language: str, work: Path) -> Path:
    """The folder of a language's pages, fetched if need be."""
    tree = work / language
    if not tree.exists():
        package = f"libreoffice-help-{language}"
        apt = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "-qq", package]
        if not list(work.glob(f"{package}_*.deb")):
            subprocess.run(apt, cwd=work, check=True)
        (archive,) = work.glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", archive, tree], check=True)
    (text,) = tree.glob("usr/share/libreoffice/help/*/text")
    return text


def paragraphs(folder: Path) -> Iterable[tuple[Key, str]]:
    """Every paragraph, its white space made single spaces."""
    for path in sorted(folder.rglob("*.html")):
        for name, parts in Page(path.read_text(encoding="utf-8")).parts.items():
            yield (path.relative_to(folder).as_posix(), name), " ".join("".join(parts).split())


def read(work: Path) -> Paragraphs:
    """The paragraphs in all languages that have them in their own words."""
    found: Paragraphs = {}
    for language in LANGUAGES:
        for key, text in paragraphs(fetched(language, work)):
            texts = found.setdefault(key, {})
            if text and text != texts.get(ENGLISH):
                texts[language] = text
    return found


def ours(name: str, texts: list[str], size: int) -> Foreign:
    """A tokenizer with the project's options but for its size."""
    options = artifact.with_changes(whole_params.load().train_tokenizer, vocab_size=size)
    return foreign.from_model(artifact.build_from_texts(texts, options).model, f"ours, {name}, {size:,}")


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--size", type=int, nargs="+", default=[8000, 32_000], help="pieces of ours")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    found = read(arguments.work)
    learnt_from = {key: texts for key, texts in found.items() if zlib.crc32(key[0].encode()) % 2}
    aligned = [texts for key, texts in found.items() if key not in learnt_from and len(texts) == len(LANGUAGES)]
    judged = {language: [texts[language] for texts in aligned] for language in LANGUAGES}
    english = [texts[ENGLISH] for texts in learnt_from.values() if ENGLISH in texts]
    everything = [text for texts in learnt_from.values() for text in texts.values()]
    tokenizers = [ours("English alone", english, arguments.size[0])]
    tokenizers += [ours("all 7", everything, size) for size in arguments.size]
    data = Path(str(mistral_common.__file__)).parent / "data"
    tokenizers += [foreign.load(data / file, name) for name, file in MISTRAL.items()]
    premiums = [comparison.parity(tokenizer, judged, ENGLISH) for tokenizer in tokenizers]
    tokens = [sum(map(len, tokenizer.encode_batch(judged[ENGLISH]))) for tokenizer in tokenizers]
    print(machine())
    sizes = [sum(len(text.encode()) for text in texts) for texts in (english, everything)]
    print(
        f"{sizes[0]:,} bytes of English and {sizes[1]:,} in all to learn from; {len(aligned):,} paragraphs measured\n"
    )
    print(f"| language | bytes | {' | '.join(tokenizer.name for tokenizer in tokenizers)} |")
    print(f"|{'---|' * (len(tokenizers) + 2)}")
    for language in LANGUAGES:
        size = sum(len(text.encode()) for text in judged[language])
        print(f"| {language} | {size:,} | {' | '.join(f'{premium[language]:.2f}' for premium in premiums)} |")
    print(f"| tokens of {ENGLISH} | | {' | '.join(f'{number:,}' for number in tokens)} |")


if __name__ == "__main__":
    main()

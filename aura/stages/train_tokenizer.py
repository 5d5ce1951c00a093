"""train_tokenizer: data/corpus/train → models/spm. With arguments: the one-shot program (see --help)."""

import sys
import tempfile
from pathlib import Path

from aura.core import console, params, paths, stage_inputs
from aura.corpus import corpus
from aura.corpus.set_hash import corpus_hash
from aura.stages import preamble
from aura.storage.cache import Cache
from aura.train_tokenizer import adoption, artifact, train
from aura.train_tokenizer.adoption import Base, More
from aura.train_tokenizer.extension import Extension, Rules
from aura.train_tokenizer.extension_corpus import extended_by_corpus
from aura.train_tokenizer.options import TrainTokenizer


def main() -> None:
    """Run the stage, or, with arguments, the program; the stage depends on none of the program's modules."""
    if sys.argv[1:]:
        from aura.one_shot import program

        program.main(sys.argv[1:])
    else:
        train_tokenizer()


def train_tokenizer() -> None:
    """Train the tokenizer that params.yaml describes, or adopt the one that it names."""
    preamble.check()
    options, cluster = params.section("train_tokenizer", TrainTokenizer), params.shared().cluster
    if options.base is not None:
        with preamble.storage() as (_, cache):
            adopt(options.base, options, _more(options, cache, cluster) if options.extend else None)
        return
    with preamble.storage() as (_, cache):
        made = artifact.build_from_corpus(paths.TRAIN, paths.TOKENIZER, options, cache, cluster)
    learnt_from = made.config["corpus"]
    console.summary(
        "train_tokenizer",
        {
            "pieces": f"{made.config['vocabulary']['size']:,} ({options.model_type})",
            "documents": f"{learnt_from['documents']:,}",
            "text": console.size(learnt_from["bytes"]),
            "distinct parts of words": f"{learnt_from['distinct_segments']:,}",
            "left out": _left_out(learnt_from),
        },
        see=f"{paths.TOKENIZER}/spiece.vocab, {paths.TOKENIZER}/spiece_config.json",
    )


def adopt(base: str, options: TrainTokenizer, more: More | None) -> None:
    """Take the tokenizer that train_tokenizer.from names, and say which roles it has."""
    adopted = adoption.adopt(Base(_path_of(base), base, options.roles), paths.TOKENIZER, more)
    roles = ("pad", "bos", "eos", "unk")
    ids = {role: getattr(adopted, f"{role}_id") for role in roles}
    console.summary(
        "train_tokenizer",
        {
            "adopted": base,
            "pieces": f"{adopted.vocab_size:,}{f', {options.extend:,} of them new' if more else ''}",
            "roles": ", ".join(f"{role} {token}" for role, token in ids.items() if token is not None) or "none",
            "SHA-256": adopted.sha256,
        },
        see=f"{paths.TOKENIZER}/adopted.json",
    )


def _more(options: TrainTokenizer, cache: Cache, cluster: str | None) -> More:
    """The pieces that train_tokenizer.extend asks for."""
    shards = corpus.shards(paths.TRAIN)

    def learn(file: Path) -> Extension:
        return extended_by_corpus(
            file,
            paths.TRAIN,
            options.extend,
            cache,
            splitting=train.splitting_of(options),
            rules=Rules(longest=options.max_piece_chars, max_changed=options.max_changed),
            old_sources=options.keep,
            most=options.max_segments,
            cluster=cluster,
            shards=shards,
        )

    with tempfile.TemporaryDirectory() as scratch:
        text = corpus_hash(paths.TRAIN, Path(scratch), cluster, shards)
    return More(learn, {"corpus": text, "keep": [*options.keep], "max_changed": options.max_changed})


def _path_of(base: str) -> Path:
    """The file or folder of a tokenizer; a version or one of the Hub is fetched, the first time from the network."""
    from aura.project import adopting  # with DVC and the Hub's library, which the stage needs for this alone

    if adopting.is_elsewhere(base):
        return adopting.fetched(base)
    preamble.tell_untracked("train_tokenizer", "train_tokenizer.from", base)
    return Path(base)


def _left_out(learnt_from: dict[str, dict[str, int]]) -> str:
    """Say what training went without: characters that SentencePiece keeps to itself."""
    present = {name: count for name, count in learnt_from["characters_left_out"].items() if count}
    return ", ".join(f"{count:,} {name}" for name, count in present.items()) or "nothing"


if __name__ == "__main__":
    if sys.argv[1:]:
        console.run(main)
    else:
        stage_inputs.run("train_tokenizer", main)

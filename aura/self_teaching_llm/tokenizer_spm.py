"""`SPMTokenizer`, the tokenizer under the import path and the names of the guide.

Thin over `aura.tokenizer`, which the pipeline itself uses. No JAX is imported.
"""

from pathlib import Path

from aura import params
from aura.errors import UserError
from aura.ingestion.txt_loader import read_documents
from aura.params import TxtSource
from aura.tokenizer import artifact
from aura.tokenizer.tokenizer import Tokenizer


class SPMTokenizer(Tokenizer):
    """A tokenizer by the path of its model: `SPMTokenizer("models/spm/spiece.model").encode("Hello")`."""

    @classmethod
    def train_from_dir(
        cls,
        input_dir: str | Path,
        model_prefix: str | Path,
        vocab_size: int | None = None,
        **options: object,
    ) -> "SPMTokenizer":
        """Train on every .txt and .md file below a folder, each a document, and load the result.

        Args:
            input_dir: folder of text files; none at all, or one that is no UTF-8, is a `UserError`.
            model_prefix: writes PREFIX.model, PREFIX.vocab and PREFIX_config.json.
            vocab_size: pieces; left out, it comes from params.yaml like every other option.
            options: any other key of the train_tokenizer section of params.yaml.
        """
        texts = _read_texts(Path(input_dir))
        changes = options if vocab_size is None else options | {"vocab_size": vocab_size}
        chosen = artifact.with_changes(params.load().train_tokenizer, **changes)
        made = artifact.build_from_texts(texts, chosen)
        prefix = Path(model_prefix)
        made.write(prefix.parent, prefix.name)
        return cls(prefix.parent / f"{prefix.name}.model")


def _read_texts(folder: Path) -> list[str]:
    """The documents of a folder; read in this process, as scripts without a main guard call this."""
    texts = []
    for file, text in read_documents(TxtSource(kind="txt", path=str(folder))):
        if isinstance(text, str):
            texts.append(text)
        elif text.reason != "empty":
            raise UserError(f"{file.path}: {text.reason}. Convert the file to UTF-8, or take it out of the folder.")
    return texts

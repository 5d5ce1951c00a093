"""The mini corpus, tokenizer and token shards for the tests beside this file."""

from tests.mini_tokens import made, mini

__all__ = ["made", "mini"]

"""The guide's `python aura/data/hf_stream.py`; the code is in `aura/one_shot/streaming.py`."""

from aura.one_shot.streaming import hf_stream, main, stream

__all__ = ["hf_stream", "main", "stream"]

if __name__ == "__main__":
    main()

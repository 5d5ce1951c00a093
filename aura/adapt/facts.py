"""Facts about an adapted model for the cards of models/adapter and models/chat."""

from aura.adapt.adapt import Metrics
from aura.core import files
from aura.hugging_face.cards import Facts
from aura.hugging_face.folder import Trained


def facts(metrics: Metrics, base: Trained) -> Facts:
    """The tables of the cards: what the model was made of, and what was measured."""
    return {
        "The base": {
            "weights (SHA-256)": files.sha256_file(base.weights),
            "tokenizer (SHA-256 of its encoding)": base.tokenizer.encoding_sha256,
            "trained parameters": metrics.trained_parameters,
        },
        "Measured on held-out text": {
            "loss on answers, before (nats per token)": metrics.response_loss_before,
            "loss on answers, after": metrics.response_loss,
            "divergence from the base on answers (nats per token)": metrics.start_divergence,
            "bits per byte of the pretraining text, before": metrics.bits_per_byte_before,
            "bits per byte of the pretraining text, after": metrics.bits_per_byte,
        },
    }

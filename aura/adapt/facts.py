"""Facts about an adapted model for the cards of models/adapter and models/chat."""

from aura.adapt.adapt import Metrics
from aura.hugging_face.cards import Facts


def facts(metrics: Metrics) -> Facts:
    """The tables of the cards: what the model was made of, and what was measured."""
    return {
        "The training": {"trained parameters": metrics.trained_parameters},
        "Measured on held-out text": {
            "loss on answers, before (nats per token)": metrics.response_loss_before,
            "loss on answers, after": metrics.response_loss,
            "divergence from the base on answers (nats per token)": metrics.start_divergence,
            "bits per byte of the pretraining text, before": metrics.bits_per_byte_before,
            "bits per byte of the pretraining text, after": metrics.bits_per_byte,
        },
    }

"""The model in NumPy, float64, written from its papers and not from the code; one conversation at a time."""

import numpy as np

from aura.model.model import EPSILON, ROPE_BASE

Weights = dict[str, np.ndarray]  # by the names of `leaf_name`; those of blocks have a first axis of layers


def log_probabilities(weights: Weights, ids: np.ndarray) -> np.ndarray:
    """ln p of every piece after each of `ids`: (S, V). A tied table is that of the embeddings."""
    embedding = weights["embedding"]
    x = embedding[ids] * embedding.shape[1] ** 0.5
    for layer in range(len(weights["blocks.query"])):
        block = {name.partition(".")[2]: leaf[layer] for name, leaf in weights.items() if name.startswith("blocks.")}
        x = x + attention(block, normed(x, block["attention_norm"]))
        x = x + swiglu(block, normed(x, block["hidden_norm"]))
    logits = normed(x, weights["final_norm"]) @ weights.get("head", embedding).T
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def attention(block: Weights, y: np.ndarray) -> np.ndarray:
    query, key, value = (np.einsum("sd,dhe->she", y, block[name]) for name in ("query", "key", "value"))
    query, key = rotated(query), rotated(key)
    seen, mixed = np.tri(len(y), dtype=bool), np.empty_like(query)
    heads_of_a_key = query.shape[1] // key.shape[1]
    for head in range(query.shape[1]):
        scores = query[:, head] @ key[:, head // heads_of_a_key].T / query.shape[2] ** 0.5
        scores = np.where(seen, scores, -np.inf)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        mixed[:, head] = shares / shares.sum(axis=1, keepdims=True) @ value[:, head // heads_of_a_key]
    return np.einsum("she,hed->sd", mixed, block["output"])


def swiglu(block: Weights, y: np.ndarray) -> np.ndarray:
    gate = y @ block["gate"]
    return (gate / (1 + np.exp(-gate)) * (y @ block["up"])) @ block["down"]


def normed(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPSILON) * scale


def rotated(x: np.ndarray) -> np.ndarray:
    """Pairs (i, i + E/2) as complex numbers, turned by position times frequency."""
    half = x.shape[2] // 2
    turn = np.arange(len(x))[:, None] * ROPE_BASE ** (-np.arange(half) / half)
    pairs = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * turn)[:, None]
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def objective(student: Weights, teacher: Weights | None, conversations: list[tuple], factor: float) -> float:
    """Mean over learnt targets of -ln p(target) + factor · KL(student ‖ teacher).

    Arguments:
        student: the weights.
        teacher: those of the teacher.
        conversations: (ids, marks) of each.
        factor: of the divergence.
    """
    total, count = 0.0, 0
    for ids, learnt in conversations:
        log_p = log_probabilities(student, ids[:-1])
        nats = -log_p[np.arange(len(ids) - 1), ids[1:]]
        if teacher is not None:
            log_q = log_probabilities(teacher, ids[:-1])
            nats = nats + factor * (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
        total += nats[learnt[1:]].sum()
        count += learnt[1:].sum()
    return total / count


def slope(function, array: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """The gradient of `function()` for an array that it reads, by central differences."""
    result = np.empty_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        sides = []
        for side in (step, -step):
            array[place] = kept + side
            sides.append(function())
        array[place] = kept
        result[place] = (sides[0] - sides[1]) / (2 * step)
    return result

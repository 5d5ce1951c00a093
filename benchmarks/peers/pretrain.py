"""The peer of benchmarks/pretrain.py, run in an environment with torch: the same model, written as nanoGPT writes one.

    python benchmarks/peers/pretrain.py CASE      CASE: a JSON object, see benchmarks/pretrain.py

What makes nanoGPT fast is here: one matrix for query, key and value, PyTorch's own attention, fused AdamW, autocast to
bfloat16 where that is asked for, and all of it through torch.compile. Logits are whole, as there. The arithmetic is
aura's: RMSNorm, rotary positions, SwiGLU, tied embeddings, no biases, clipping, the same decay.
"""

import json
import resource
import sys
import time
import warnings
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn
from turns import serve


class Block(nn.Module):
    """One layer."""

    def __init__(self, shape: dict[str, int]) -> None:
        super().__init__()
        D, self.heads, self.kv_heads = shape["width"], shape["heads"], shape["kv_heads"]
        self.E = D // self.heads
        self.attention_norm, self.hidden_norm = nn.RMSNorm(D, 1e-5), nn.RMSNorm(D, 1e-5)
        self.qkv = nn.Linear(D, (self.heads + 2 * self.kv_heads) * self.E, bias=False)
        self.output = nn.Linear(D, D, bias=False)
        self.gate_up = nn.Linear(D, 2 * shape["hidden"], bias=False)
        self.down = nn.Linear(shape["hidden"], D, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """The stream after this layer."""
        B, S, D = x.shape
        heads = self.qkv(self.attention_norm(x)).view(B, S, -1, self.E).transpose(1, 2)
        query, key, value = heads.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        mixed = F.scaled_dot_product_attention(
            rotated(query, cos, sin), rotated(key, cos, sin), value,
            is_causal=True, enable_gqa=self.heads != self.kv_heads,
        )  # fmt: skip
        x = x + self.output(mixed.transpose(1, 2).reshape(B, S, D))
        gate, up = self.gate_up(self.hidden_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    """Ids to the mean loss."""

    def __init__(self, shape: dict[str, int], pieces: int, seq_len: int) -> None:
        super().__init__()
        D, E = shape["width"], shape["width"] // shape["heads"]
        self.embedding = nn.Embedding(pieces, D)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape["layers"]))
        self.norm = nn.RMSNorm(D, 1e-5)
        angle = torch.outer(torch.arange(seq_len), 10_000.0 ** (-torch.arange(0, E, 2) / E))
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch."""
        x = self.embedding(tokens) * self.embedding.embedding_dim**0.5
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1))


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, halves against each other."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).type_as(x)


def product_flops() -> float:
    """Operations per CPU second of a large product of float32 matrices: what this processor can do at most."""
    one, other = torch.rand(2048, 2048), torch.rand(2048, 2048)
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        one @ other
        best = min(best, time.process_time() - begun)
    return 2 * 2048**3 / best


def main() -> None:
    """Compile, then take steps when told to."""
    warnings.simplefilter("ignore")
    case: dict[str, Any] = json.loads(sys.argv[1])
    B, S, pieces = case["batch_size"], case["seq_len"], case["vocab_size"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(case["threads"])
    torch.set_float32_matmul_precision("high" if case["precision"] == "bfloat16" else "highest")
    torch.manual_seed(0)
    model = Model(case["shape"], pieces, S).to(device)
    matrices = [weight for name, weight in model.named_parameters() if weight.dim() == 2 and "embedding" not in name]
    others = [weight for name, weight in model.named_parameters() if weight.dim() == 1 or "embedding" in name]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    compiled = torch.compile(model)
    autocast = torch.autocast(device, torch.bfloat16) if case["precision"] == "bfloat16" else nullcontext()
    stream = torch.randint(pieces, (4_000_000,))

    def dispatch() -> Tensor:
        begins = torch.randint(len(stream) - S - 1, (B,)).tolist()
        windows = torch.stack([stream[begin : begin + S + 1] for begin in begins]).to(device, non_blocking=True)
        with autocast:
            loss = compiled(windows[:, :-1], windows[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def take_unread(steps: int) -> None:
        for _ in range(steps):
            loss = dispatch()
        loss.item()

    def memory() -> int:
        of_process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return torch.cuda.max_memory_allocated() if device == "cuda" else of_process

    facts: dict[str, object] = {
        "version": f"torch {torch.__version__}",
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
    facts["product_flops"] = product_flops() if device == "cpu" else None
    serve(lambda: dispatch().item(), take_unread, memory, facts)


if __name__ == "__main__":
    main()

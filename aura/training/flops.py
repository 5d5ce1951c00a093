"""Arithmetic of a training step, counted from the shapes, and what devices could do at most.

XLA's own count is not used: it counts the body of a scan over layers once.
"""

from aura.model.model import ModelConfig

# Floating-point operations per second in bfloat16 with float32 sums, dense; by the beginning of
# `jax.Device.device_kind`, the longer name first where one begins another. Looked up in November 2026:
# TPUs     docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}, "peak compute per chip"
# NVIDIA   the data sheets' "BFLOAT16 Tensor Core", halved where they state it with sparsity (A100 624, H100 and H200
#          1,979, B200 4,500 TFLOPS), as glennklockwood.com/garden/processors quotes those of A100 and B200, and
#          itkb.uw.cz (2026/06) that of H200; H100 has the processor of H200
PEAK_FLOPS: dict[str, float | None] = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,  # the SXM module; cards of that name (PCIe, NVL) are slower
    "NVIDIA H200 NVL": None,  # a card, slower than the module
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
}


def flops_per_token(config: ModelConfig, seq_len: int) -> int:
    """Of one training token: 6 per weight of a matrix (2 forward, 4 back), and causal attention's two products.

    Computing activations again (remat) is not counted: it is no use of the model (PaLM, arXiv:2204.02311, appendix B).
    Attention counts the half of the scores that a causal mask keeps.
    """
    D, H, K, E, F = config.width, config.heads, config.kv_heads, config.head_width, config.hidden
    layer = 2 * D * H * E + 2 * D * K * E + 3 * D * F
    matrices = config.layers * layer + config.vocab_size * D
    attention = config.layers * 2 * H * E * seq_len // 2  # scores and mixture: a product each, over half of S
    return 6 * matrices + 6 * attention


def peak_flops(device_kind: str) -> float | None:
    """Of one device per second; None for a CPU and for devices of which the table says nothing."""
    return next((peak for kind, peak in PEAK_FLOPS.items() if device_kind.startswith(kind)), None)

"""Options of the system that the guide's names are from, and what replaces each of them here.

Such an option is accepted, changes nothing, and is told in one line. An option that neither system knows is an error.
"""

from collections.abc import Iterable

from aura.core import console
from aura.core.errors import UserError

_SIZE = "the size of the model is that of models/lm (pretrain.size in params.yaml)"
_ACCELERATOR = "JAX takes the accelerator of this machine, and pretrain.precision says how it computes"
_CHECKPOINTS = "checkpoints lie in pretrain.checkpoint_folder, and the same command goes on from the last one"
REPLACED = {
    **dict.fromkeys(
        ("d_model", "hidden_size", "hidden_dim", "embed_dim", "num_layers", "n_layers", "num_heads", "n_heads"), _SIZE
    ),
    **dict.fromkeys(("vocab_size", "max_seq_len"), "the tokenizer and the model decide it"),
    **dict.fromkeys(("device", "dtype", "precision", "fp16", "bf16", "mixed_precision"), _ACCELERATOR),
    **dict.fromkeys(("checkpoint_dir", "checkpoint_every", "save_every", "resume", "resume_from"), _CHECKPOINTS),
    **dict.fromkeys(("epochs", "num_epochs"), "steps say how long to train"),
    **dict.fromkeys(("warmup", "warmup_steps", "weight_decay", "dropout", "grad_clip"), "the stage adapt decides it"),
    **dict.fromkeys(("log_every", "log_interval", "verbose"), "progress is shown in the terminal and lies in reports"),
    **dict.fromkeys(("num_workers", "workers"), "sources are read on all cores"),
    **dict.fromkeys(("lora_rank", "lora_r", "adapter_dim"), "rank says it (adapt.rank in params.yaml)"),
    **dict.fromkeys(("lora_alpha",), "alpha says it (adapt.alpha in params.yaml)"),
}
BIOLOGY = (
    *("neuroplastic", "plasticity", "spiking", "spike", "neuron", "synap", "hebb", "stdp", "dopamine", "hormone"),
    *("crispr", "genes", "genetic", "genome", "dna", "brain", "cortex", "amygdala", "hippocamp", "liquid", "homeosta"),
    "bio",
)


def told(names: Iterable[str], where: str) -> None:
    """Say of each option what replaces it.

    Arguments:
        names: as they are spelt in Python, such as `d_model`.
        where: the class or program that got them.

    Raises:
        UserError: an option is known to neither system.
    """
    for name in names:
        words = name.lower().replace("-", "_")
        if words in REPLACED:
            console.err.print(f"note: {name} changes nothing: {REPLACED[words]}.")
        elif any(part.startswith(BIOLOGY) for part in words.split("_")):
            console.err.print(f"note: {name} changes nothing: aura simulates no biology; it adapts language models.")
        else:
            raise UserError(f"{where}: no option {name}. See its help, or the section adapt of params.yaml")


def names_on_the_command_line(arguments: Iterable[str]) -> list[str]:
    """The names of options among arguments that a program did not know: `--d-model 64 --spiking` gives two.

    Raises:
        UserError: an argument belongs to no option.
    """
    names: list[str] = []
    takes_value = False
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, _ = argument.removeprefix("--").partition("=")
            names.append(name.replace("-", "_"))
            takes_value = not equals
        elif takes_value:
            takes_value = False
        else:
            raise UserError(f"expected an option such as --jsonl, got {argument!r}. See: --help")
    return names

"""Stage export: models/lm and models/spm -> models/hf, a folder that Hugging Face transformers loads."""

from pathlib import Path

from aura import console, files, libraries
from aura.self_teaching_llm.export import export

OUTPUT = Path("models/hf")


def main() -> None:
    """Write the trained model as a LlamaForCausalLM beside its tokenizer."""
    libraries.require_locked()
    tensors = export(Path("models/lm"), Path("models/spm"), OUTPUT)
    console.summary(
        "export",
        {
            "parameters": f"{sum(tensor.size for tensor in tensors.values()):,}",
            "tensors": f"{len(tensors)}",
            "size": console.size(files.folder_size(OUTPUT)),
        },
        see=f"{OUTPUT}/config.json",
    )


if __name__ == "__main__":
    console.run(main)

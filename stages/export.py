"""Stage export: models/lm and models/spm -> models/hf, a folder that Hugging Face transformers loads."""

from pathlib import Path

from aura.core import console, files, libraries, params, stage_inputs
from aura.export.llama import export
from aura.tokenizer import hf_export, model_file

TOKENIZER, OUTPUT = Path("models/spm"), Path("models/hf")


def main() -> None:
    """Write the trained model as a LlamaForCausalLM beside its tokenizer."""
    libraries.require_locked()
    tensors = export(Path("models/lm"), TOKENIZER, OUTPUT, add_bos=params.load().encode.add_bos)
    notice = hf_export.gguf_notice(model_file.read(TOKENIZER / "spiece.model"))
    if notice:
        console.err.print(f"note: {notice}", markup=False)
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
    stage_inputs.run("export", main)

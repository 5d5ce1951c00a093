"""export: models/lm and models/spm → models/hf, a folder that Hugging Face transformers loads."""

from aura.core import console, files, params, paths, stage_inputs
from aura.encode.options import Encode
from aura.export.llama import export
from aura.export.options import Export
from aura.stages import preamble


def main() -> None:
    """Write the trained model as a LlamaForCausalLM beside its tokenizer."""
    preamble.check()
    add_bos = params.section("encode", Encode).add_bos
    gguf = params.section("export", Export).gguf
    tensors = export(paths.LANGUAGE_MODEL, paths.TOKENIZER, paths.HUGGING_FACE_MODEL, add_bos=add_bos, gguf=gguf)
    console.summary(
        "export",
        {
            "parameters": f"{sum(tensor.size for tensor in tensors.values()):,}",
            "tensors": f"{len(tensors)}",
            "size": console.size(files.folder_size(paths.HUGGING_FACE_MODEL)),
        },
        see=f"{paths.HUGGING_FACE_MODEL}/README.md",
    )


if __name__ == "__main__":
    stage_inputs.run("export", main)

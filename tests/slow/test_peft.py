"""models/adapter and models/chat under PEFT and transformers themselves.

They need torch, which this project does not install (4.5 GB): `make .venv-torch/ready` makes an environment for it, and
without that this test is skipped.
"""

import json
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

from aura.model.model import LanguageModel
from aura.tokenizer.chat_encoding import encode_conversation, encode_prompt
from tests.conftest import REPOSITORY
from tests.hugging_face.test_chat_files import Made
from tests.mini_tokens import MiniTokens
from tests.tokenizer.test_chat_encoding import said

PYTHON = REPOSITORY / ".venv-torch/bin/python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs torch and peft: make .venv-torch/ready"),
]
CHATS = [
    said(("user", "Hi")),
    said(
        ("system", "Be brief."),
        ("user", "é?"),
        ("assistant", "你好 é."),
        ("user", " what is 2 + 2?\n"),
        ("assistant", "4"),
    ),
]
# Writes the logits of every way to load the adapter, what PEFT complained about, and the ids of conversations.
PROGRAM = """
import json, sys, warnings
from pathlib import Path
import numpy as np, torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

folder = Path(sys.argv[1])
asked = json.loads((folder / "asked.json").read_text())
ids = torch.tensor([asked["ids"]])
with warnings.catch_warnings(record=True) as said, torch.no_grad():
    warnings.simplefilter("always")
    base = AutoModelForCausalLM.from_pretrained(folder / "hf")
    found = {"base": base(ids).logits}
    model = PeftModel.from_pretrained(base, str(folder / "adapter"))
    found["adapter"] = model(ids).logits
    found["adapter by its own config"] = AutoPeftModelForCausalLM.from_pretrained(str(folder / "adapter"))(ids).logits
    found["merged by PEFT"] = model.merge_and_unload()(ids).logits
    chat, told = AutoModelForCausalLM.from_pretrained(folder / "chat", output_loading_info=True)
    found["chat"] = chat(ids).logits
    again = AutoModelForCausalLM.from_pretrained(folder / "hf")
    model = PeftModel.from_pretrained(again, str(folder / "adapter"), is_trainable=True)
    trained = sum(leaf.numel() for leaf in model.parameters() if leaf.requires_grad)
tokenizer = AutoTokenizer.from_pretrained(folder / "chat")

def ids_of(**options):
    return [tokenizer.apply_chat_template(chat, return_dict=True, **options)["input_ids"] for chat in asked["chats"]]

complaints = [(str(warning.message), warning.filename) for warning in said]
np.savez(folder / "logits.npz", **{name: logits[0].numpy() for name, logits in found.items()})
print(json.dumps({
    "warnings": [text for text, file in complaints if "peft" in file or "adapter" in text],
    "missing": sorted(told["missing_keys"]) + sorted(told["unexpected_keys"]),
    "trained": trained, "rendered": ids_of(), "prompts": ids_of(add_generation_prompt=True),
    "eos": GenerationConfig.from_pretrained(folder / "chat").eos_token_id,
}))
"""


# As of a model that began from a Llama 3.1.
BEGUN = {"scaled_embeddings": False, "epsilon": 1e-6, "rope_base": 5e5, "rope_factor": 8.0, "rope_context": 64}


@pytest.mark.parametrize(
    "changes",
    [{}, {"tied_embeddings": False}, {"kv_heads": 1, "qk_norm": True}, BEGUN | {"own_head_width": 12}],
    ids=str,
)
def test_peft_loads_the_adapter_and_transformers_the_chat_model(made: MiniTokens, tmp_path: Path, changes: dict):
    own = Made(made, tmp_path, **changes)
    tokenizer = made.tokenizer
    chats = [[vars(message) for message in chat] for chat in CHATS]
    (tmp_path / "asked.json").write_text(json.dumps({"ids": own.ids.tolist(), "chats": chats}))
    done = subprocess.run([PYTHON, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["warnings"], told["missing"]) == ([], [])
    assert told["eos"] == tokenizer.eos_id
    assert told["trained"] == sum(leaf.size for leaf in jax.tree.leaves(own.adapter))
    assert told["rendered"] == [encode_conversation(tokenizer, chat).ids.tolist() for chat in CHATS]
    assert told["prompts"] == [encode_prompt(tokenizer, chat).tolist() for chat in CHATS]

    with np.load(tmp_path / "logits.npz") as theirs:
        expected = {name: own.logits() for name in theirs.files}
        expected["base"] = np.asarray(jax.jit(LanguageModel.__call__)(own.model, own.ids[None]))[0]
        differences = {name: float(np.abs(theirs[name] - logits).max()) for name, logits in expected.items()}
        print(
            changes,
            {name: f"{value:.1e}" for name, value in differences.items()},
            f"deviation {theirs['chat'].std():.2f}",
        )
        assert np.abs(theirs["base"] - theirs["chat"]).max() > 0.05
    assert max(differences.values()) < 1e-4, differences

"""Paths of the project's files, relative to its folder. dvc.yaml names the same paths."""

from pathlib import Path

PIPELINE_FILE = Path("dvc.yaml")

DATA = Path("data")  # with the pins of sources
EXTRACTED = DATA / "extracted"  # a folder for each source
CORPUS = DATA / "corpus"
TRAIN, HELD_OUT = CORPUS / "train", CORPUS / "held_out"
DUPLICATES = CORPUS / "duplicates.parquet"  # the dropped documents, and what each of them duplicates
TOKENS = DATA / "tokens"
CONVERSATIONS = DATA / "conversations"  # what a model is adapted on

MODELS = Path("models")
TOKENIZER = MODELS / "spm"
TOKENIZER_MODEL = TOKENIZER / "spiece.model"
LANGUAGE_MODEL = MODELS / "lm"
EVALUATION = DATA / "evaluation"  # on the workers of a pod: copies of what pretrain.evaluate names
BASE = MODELS / "base"  # on the workers of a pod: a copy of what pretrain.from names
PODS = MODELS / "pods"  # a folder for each pod that `aura tpu launch` used
HUGGING_FACE_MODEL = MODELS / "hf"
ADAPTER = MODELS / "adapter"
CHAT_MODEL = MODELS / "chat"  # with the adapter merged

VALIDATION = Path("reports/validate")
PASSED = VALIDATION / "passed.json"  # the verdict of the gates; `encode` refuses a tokenizer that missed one
PRETRAINING = Path("reports/pretrain")
ADAPTATION = Path("reports/adapt")
BITS_PER_BYTE = Path("reports/bits_per_byte")
LR_RANGE = Path("reports/lr_range")
LR_RANGE_WORK = Path(".aura/lr_range")  # the plots of its run
REPORT = Path("reports/index.html")  # the whole pipeline on one page
VOCABULARY_CURVE = Path("reports/vocabulary/curve.csv")  # columns vocab_size, bytes_per_token

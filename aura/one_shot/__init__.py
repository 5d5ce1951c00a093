"""The whole tokenizer pipeline in one program, and its checklist."""

"""The stage that adapts the pretrained model to conversations: models/adapter, models/chat."""

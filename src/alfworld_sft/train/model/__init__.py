"""The model in training: attention, LoRA, loss, optimizer."""

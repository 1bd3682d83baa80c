"""Training: rows → samples → packed batches → LoRA or full fine-tuning → checkpoints and merged models."""

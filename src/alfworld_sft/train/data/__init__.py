"""Rows → samples → global batches → packed micro-batches."""

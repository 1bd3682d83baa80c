"""The official archives: download, check, unpack."""

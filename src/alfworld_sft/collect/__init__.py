"""A collection run: config → episodes → dataset."""

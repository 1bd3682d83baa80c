"""Which episodes become which rows, in which files, and how are rows read back?"""

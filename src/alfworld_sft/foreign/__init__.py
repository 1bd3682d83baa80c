"""ALFWorld data of other projects: read, replayed in its games, and imported as a dataset of ours.

`read_foreign` reads the conversations of a file, `find_replay` finds the game of one and plays it again, and
`import_foreign` makes a dataset's folder of them.
"""

"""What happened in some runs, as one HTML file that opens anywhere? Folders → figures and replayed episodes → page.

`read` opens the runs, `figures` and `training` sum them up, `replay` asks the world about every turn, `turns` makes the
records that the page draws, `page` writes them into one file with its script, its style and the charting library.
"""

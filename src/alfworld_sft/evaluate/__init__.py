"""How well does a policy play, and how well does it predict? Episodes → figures.

`statistics` computes intervals and tests, `metrics` measures play, `worldmodel` scores predictions, and `compare`
compares two results: all pure. `run` plays an evaluation and writes `metrics.json`; `tables` prints.
"""

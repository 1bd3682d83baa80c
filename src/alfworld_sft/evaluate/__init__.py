"""How well does a policy play, and how well does it foresee? Episodes → figures.

`statistics` knows intervals and tests, `metrics` measures play, `worldmodel` scores predictions, `compare` sets two
results side by side: all pure. `run` is a run like collection's that ends in `metrics.json`; `tables` prints.
"""

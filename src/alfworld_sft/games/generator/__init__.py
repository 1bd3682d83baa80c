"""New games like the real ones: facts of the train scenes → rooms → furniture → task → game file."""

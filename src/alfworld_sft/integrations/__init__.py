"""How do other frameworks play our world? One module for each; none is imported unless it is used."""

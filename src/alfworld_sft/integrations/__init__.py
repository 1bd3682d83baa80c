"""How do other frameworks play our games? One file for each framework, and each file alone imports it."""

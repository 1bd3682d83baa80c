"""How a policy is prompted, and how its reply is parsed."""

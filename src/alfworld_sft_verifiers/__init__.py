"""The name by which verifiers finds our taskset, as in `vf-eval alfworld-sft-verifiers`.

It looks for top-level modules only; the code is in `alfworld_sft.integrations.verifiers`.
"""

from alfworld_sft.integrations.verifiers import AlfworldEnv, AlfworldTaskset, ChatHarness

__all__ = ["AlfworldEnv", "AlfworldTaskset", "ChatHarness"]

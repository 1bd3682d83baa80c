"""Which modules and names of `alfworld` and `textworld` does the drop-in cover, and where do they stand here?"""

from __future__ import annotations

from collections.abc import Mapping

_HERE = "alfworld_sft.integrations.alfworld."
_CORE = dict.fromkeys(("EnvInfos", "Environment", "GameState", "Agent"), _HERE + "core")
_WRAPPERS = dict.fromkeys(("Filter", "GenericEnvironment", "Limit"), _HERE + "wrappers")
_BATCH = dict.fromkeys(("AsyncBatchEnv", "SyncBatchEnv"), _HERE + "batch:BatchEnv")
_ENVIRONMENTS = dict.fromkeys(("TextworldBatchGymEnv", "TextworldGymEnv"), _HERE + "gym")
_REGISTRY = dict.fromkeys(("make", "register_game", "register_games", "registry"), _HERE + "gym")
_ALFRED = dict.fromkeys(("AlfredDemangler", "AlfredExpert", "AlfredExpertType", "AlfredInfos"), _HERE + "alfred")
_EXPERT = dict.fromkeys(("HandCodedAgentFailed", "HandCodedAgentTimeout", "HandCodedTWAgent"), _HERE + "handcoded")
_PATHS = dict.fromkeys(
    ("ALFRED_PDDL_PATH", "ALFRED_TWL2_PATH", "ALFWORLD_DATA", "BUILTIN_DATA_PATH", "__version__"), _HERE + "info"
)

COVERED: Mapping[str, Mapping[str, str]] = {
    "alfworld": _PATHS,
    "alfworld.info": _PATHS,
    "alfworld.agents": {},
    "alfworld.agents.environment": {"get_environment": _HERE + "environment"},
    "alfworld.agents.environment.alfred_tw_env": {
        **_ALFRED,
        "AlfredTWEnv": _HERE + "environment",
        "TASK_TYPES": _HERE + "environment",
    },
    "alfworld.agents.expert": _EXPERT,
    "alfworld.agents.expert.handcoded_expert_tw": {"HandCodedTWAgent": _HERE + "handcoded"},
    "alfworld.agents.modules": {},
    "alfworld.agents.modules.generic": {"load_config": _HERE + "config"},
    "alfworld.agents.utils": {},
    "alfworld.agents.utils.misc": {"add_task_to_grammar": _HERE + "misc"},
    "textworld": {**_CORE, "start": _HERE + "wrappers", "__version__": _HERE + "info:TEXTWORLD_VERSION"},
    "textworld.agents": {"HumanAgent": _HERE + "human"},
    "textworld.core": {**_CORE, "Wrapper": _HERE + "core", "GameNotRunningError": _HERE + "core"},
    "textworld.envs": {"PddlEnv": _HERE + "pddl"},
    "textworld.envs.batch": _BATCH,
    "textworld.envs.batch.batch_env": _BATCH,
    "textworld.envs.pddl": {"PddlEnv": _HERE + "pddl"},
    "textworld.envs.wrappers": _WRAPPERS,
    "textworld.envs.wrappers.filter": {"Filter": _HERE + "wrappers"},
    "textworld.envs.wrappers.limit": {"Limit": _HERE + "wrappers"},
    "textworld.gym": {**_REGISTRY, "Agent": _HERE + "gym"},
    "textworld.gym.core": {"Agent": _HERE + "gym"},
    "textworld.gym.envs": _ENVIRONMENTS,
    "textworld.gym.envs.utils": {"shuffled_cycle": "alfworld_sft.integrations.shuffling"},
    "textworld.gym.utils": _REGISTRY,
    "textworld.helpers": {"start": _HERE + "wrappers"},
    "textworld.logic": dict.fromkeys(("Proposition", "Variable"), _HERE + "facts"),
}
"""By module: each name with the module of ours that has it, as "module" or "module:other_name"."""

PACKAGES = ("alfworld", "textworld")


def is_covered_package(module: str) -> bool:
    """Return whether a module belongs to the two packages, covered or not."""
    return module.partition(".")[0] in PACKAGES


def submodules(module: str) -> list[str]:
    """Return the covered modules right below a module, by their last names."""
    prefix = module + "."
    return [name.removeprefix(prefix) for name in COVERED if name.startswith(prefix) and "." not in name[len(prefix) :]]

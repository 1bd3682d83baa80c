"""What do clean, heat and cool take, set, undo and need? One record for each treatment holds all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from alfworld_sft.types import TaskType
from alfworld_sft.world.language import TreatmentVerb


@dataclass(frozen=True, slots=True)
class Treatment:
    """One of the three ways to change a held object, with all that belongs to it.

    `ability` is the field of `Object` that it takes, `flag` the field of `State` that it sets and the word that goals
    have for it, `descriptions` are the words that the game has for it. `undoes` names the treatment whose flag it
    clears. `appliance_type` is AI2-THOR's name of what does it, `done` the verb's participle.
    """

    verb: TreatmentVerb
    done: str
    ability: Literal["cleanable", "heatable", "coolable"]
    flag: Literal["clean", "hot", "cool"]
    descriptions: frozenset[str]
    undoes: TreatmentVerb | None
    appliance_type: str
    task_type: TaskType

    @property
    def appliance(self) -> str:
        """The appliance's class, as in "microwave"."""
        return self.appliance_type.lower()

    @property
    def predicate(self) -> str:
        """The flag's name in PDDL, as in "isHot"."""
        return f"is{self.flag.capitalize()}"


TREATMENTS: Mapping[str, Treatment] = {
    treatment.verb: treatment
    for treatment in (
        Treatment(
            verb="clean",
            done="cleaned",
            ability="cleanable",
            flag="clean",
            descriptions=frozenset({"clean"}),
            undoes=None,
            appliance_type="SinkBasin",
            task_type="pick_clean_then_place_in_recep",
        ),
        Treatment(
            verb="heat",
            done="heated",
            ability="heatable",
            flag="hot",
            descriptions=frozenset({"hot"}),
            undoes="cool",
            appliance_type="Microwave",
            task_type="pick_heat_then_place_in_recep",
        ),
        Treatment(
            verb="cool",
            done="cooled",
            ability="coolable",
            flag="cool",
            descriptions=frozenset({"cool", "cold"}),
            undoes="heat",
            appliance_type="Fridge",
            task_type="pick_cool_then_place_in_recep",
        ),
    )
}
"""By verb, as TREATMENTS["heat"]."""
TREATMENTS_BY_FLAG: Mapping[str, Treatment] = {treatment.flag: treatment for treatment in TREATMENTS.values()}
TREATMENTS_BY_TASK: Mapping[TaskType, Treatment] = {treatment.task_type: treatment for treatment in TREATMENTS.values()}
HEATING_AND_COOLING = {f"{TREATMENTS[verb].appliance}type": TREATMENTS[verb] for verb in ("heat", "cool")}
"""By type of receptacle; where one can clean differs between games."""

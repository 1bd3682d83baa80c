"""Small hand-made episodes for tests that need no game."""

from dataclasses import replace

from alfworld_sft.types import Episode, Reply, Step

OPENING = "You are in the middle of a room. Looking quickly around you, you see a desk 1."


def step(number: int = 1, *, action: str = "look", trained: bool = True, problem: str | None = None, won: bool = False):
    """Return a step whose texts tell its number."""
    return Step(
        observation=OPENING if number == 1 else f"Seen {number}.",
        admissible_commands=("go to desk 1", "inventory", "look"),
        reply=Reply(
            f"<think>thought {number}</think>\n<prediction>guess {number}</prediction>\n<action>{action}</action>",
            trained=trained,
        ),
        action=None if problem else action,
        problem=problem,
        command=action,
        next_observation=f"Seen {number + 1}.",
        reward=float(won),
        won=won,
    )


def episode(index: int = 0, *, turns: int = 3, success: bool = True, **changes: object) -> Episode:
    """Return an episode of some turns, the last of which wins if `success`."""
    steps = tuple(step(n, won=success and n == turns) for n in range(1, turns + 1))
    made = Episode(
        index=index,
        game_id=f"pick_and_place_simple-Mug-None-Desk-{index}/trial_T{index}",
        split="train",
        task_type="pick_and_place_simple",
        task="put a mug in desk.",
        grammar="move",
        seed=index,
        template="add_wm1",
        policy="scripted",
        max_steps=50,
        success=success,
        steps=steps,
    )
    return replace(made, **changes)  # type: ignore[arg-type]

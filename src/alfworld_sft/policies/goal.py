"""What does the task sentence ask for? A sentence → `Goal`.

The sentences are ALFWorld's own templates, twelve in the 340 real games at hand. Their order matters:
"put a clean mug in desk." is also a "put a …".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from alfworld_sft.errors import PolicyError

Treatment = Literal["clean", "heat", "cool"]
"""What must be done to the object before it is put down."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What to bring about: `count` of the objects, treated, in one place; or an object in hand beside a lit lamp.

    `object`, `place` and `lamp` are classes, as in "mug". Just one of `place` and `lamp` is set.
    """

    object: str
    place: str = ""
    treatment: Treatment | None = None
    count: int = 1
    lamp: str = ""


_SOME = r"(?:an?|some|the)"
_PATTERNS: tuple[tuple[str, Treatment | None, int], ...] = (
    (rf"(?:look at|examine) (?:{_SOME} )?(?P<object>\w+) (?:under|with) the (?P<lamp>\w+)", None, 1),
    (rf"put {_SOME} clean (?P<object>\w+) (?:in|on) (?:the )?(?P<place>\w+)", "clean", 1),
    (rf"clean {_SOME} (?P<object>\w+) and put it (?:in|on) (?:the )?(?P<place>\w+)", "clean", 1),
    (rf"put {_SOME} hot (?P<object>\w+) (?:in|on) (?:the )?(?P<place>\w+)", "heat", 1),
    (rf"heat {_SOME} (?P<object>\w+) and put it (?:in|on) (?:the )?(?P<place>\w+)", "heat", 1),
    (rf"put {_SOME} cool (?P<object>\w+) (?:in|on) (?:the )?(?P<place>\w+)", "cool", 1),
    (rf"cool {_SOME} (?P<object>\w+) and put it (?:in|on) (?:the )?(?P<place>\w+)", "cool", 1),
    (r"put two (?P<object>\w+) (?:in|on) (?:the )?(?P<place>\w+)", None, 2),
    (r"find two (?P<object>\w+) and put them (?:in|on) (?:the )?(?P<place>\w+)", None, 2),
    (rf"put {_SOME} (?P<object>\w+) (?:in|on) (?:the )?(?P<place>\w+)", None, 1),
)


@lru_cache(maxsize=4096)
def read_goal(task: str) -> Goal:
    """Return what the sentence asks for; raises PolicyError for one that is none of ALFWorld's."""
    sentence = " ".join(task.lower().split()).rstrip(".")
    for pattern, treatment, count in _PATTERNS:
        match = re.fullmatch(pattern, sentence)
        if match is not None:
            words = match.groupdict()
            return Goal(words["object"], words.get("place") or "", treatment, count, words.get("lamp") or "")
    raise PolicyError(f"the expert does not understand the task {task!r}; it knows ALFWorld's six kinds of task")

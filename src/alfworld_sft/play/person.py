"""A person plays: reads lines, plays commands, answers the few words that are not the game's."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from alfworld_sft.counts import counted
from alfworld_sft.errors import PolicyError, UserError
from alfworld_sft.play.reader import ReadLine
from alfworld_sft.play.session import Session

Say = Callable[[str], None]

WORDS = {
    "?": "list these words and what can be done now",
    "hint": "what the expert would do now",
    "why": "the same, with its reason",
    "undo": "take back the last step",
    "distance": "how many steps a shortest plan still has",
    "think TEXT": "note a thought, which goes into the next step's reply",
    "save [FOLDER]": "write the episode as data, in a run's folder inside FOLDER",
    "quit": "leave",
}
"""What a person may type beside the game's commands, with its meaning."""


class Save(Protocol):
    """Writes the session's episode into a folder of its own inside the named one."""

    def __call__(self, session: Session, folder: Path) -> Path:
        """Return the run's folder; raises UserError."""
        ...


class Table:
    """A session with the person at it: understands one line at a time."""

    def __init__(self, session: Session, say: Say, save: Save) -> None:
        self.session = session
        self._say = say
        self._save = save
        self._thought = ""

    def play(self, read: ReadLine) -> None:
        """Play until the person leaves; after the end one may still undo and save."""
        self._say(self.session.observation.text)
        self._say("(? lists what else you can type)")
        while True:
            try:
                line = read(self.completions).strip()
            except (EOFError, KeyboardInterrupt):
                return
            if line == "quit":
                return
            if line:
                self.obey(line)

    @property
    def completions(self) -> tuple[str, ...]:
        """What can be typed now."""
        return (*self.session.observation.admissible_commands, *(word.partition(" ")[0] for word in WORDS))

    def obey(self, line: str) -> None:
        """Do what a line says; mistakes are answered, never raised."""
        word, _, rest = line.partition(" ")
        try:
            match word:
                case "?":
                    self._help()
                case "hint":
                    self._say(self.session.hint().action)
                case "why":
                    hint = self.session.hint()
                    self._say(f"{hint.action}: {hint.reason}")
                case "undo":
                    self._say(self.session.seen if self.session.undo() else "nothing has been played yet")
                case "distance":
                    self._distance()
                case "think":
                    self._thought = rest.strip()
                case "save":
                    given = shlex.split(rest)
                    if len(given) > 1:
                        raise UserError(f"save takes one folder, not {len(given)}; put a name with blanks into quotes")
                    folder = self._save(self.session, Path(*given).expanduser())
                    self._say(f"saved: {folder}")
                case _:
                    self._step(line)
        except (UserError, PolicyError, ValueError, OSError, RuntimeError) as error:  # the last of an unknown ~user
            self._say(f"cannot do that: {error}")

    def _help(self) -> None:
        for word, meaning in WORDS.items():
            self._say(f"  {word:14} {meaning}")
        self._say("the game understands:")
        for command in self.session.observation.admissible_commands:
            self._say(f"  {command}")

    def _distance(self) -> None:
        steps = self.session.distance()
        self._say("the game can no longer be won" if steps is None else counted(steps, "step"))

    def _step(self, command: str) -> None:
        if self.session.observation.over:
            self._say("the game is over; undo, save or quit")
            return
        observation = self.session.play(command, self._thought)
        self._thought = ""
        self._say(observation.text)
        if observation.won:
            self._say(f"You won, in {counted(len(self.session.steps), 'step')}. (save, undo or quit)")
        elif observation.over:
            self._say("The step limit is reached. (save, undo or quit)")

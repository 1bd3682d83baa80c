"""What may a player say that the world does not understand? Slips, other grammars, other cases, other alphabets.

A few of them are understood after all: blanks around a command are, and a slip can hit another command. All the
better: the reference decides.
"""

import random
from collections.abc import Callable, Sequence

Slip = Callable[[random.Random, str], str]

NONSENSE = (
    "",
    " ",
    "\n",
    "\t \n",
    "\x00",
    "None",
    "nothing happens",
    "go",
    "go to",
    "take",
    "examine",
    "put",
    "help me",
    "inventory 1",
    "look around",
    "look\nlook",
    "go to cabinet 999",
    "go to the middle of the room",
    "take all",
    "drop it",
    "open door",
    "行く",
    "öffne den Schrank",
    "look\u200b",
    "\uff4c\uff4f\uff4f\uff4b",
    "\ufefflook",
    "🙂",
    "<action>look</action>",
    '{"action": "look"}',
    "{o.name}",
    "#look.feedback#",
    "look; look",
    "../look",
    "x" * 5000,
)
GRAMMAR_SWAPS = (
    ("move ", "put "),
    (" to ", " in/on "),
    ("put ", "move "),
    (" in/on ", " to "),
    (" in/on ", " in "),
    ("take ", "pick up "),
    ("take ", "get "),
    ("go to ", "go "),
    ("go to ", "goto "),
    ("go to ", "go to the "),
    ("use ", "toggle "),
    ("use ", "turn on "),
    (" with ", " using "),
    ("open ", "unlock "),
    ("examine ", "look at "),
    ("inventory", "i"),
    ("look", "l"),
)


def _misspelled(rng: random.Random, command: str) -> str:
    at = rng.randrange(len(command))
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz 0123456789")
    return rng.choice(
        (
            command[:at] + command[at + 1 :],
            command[:at] + command[at] + command[at:],
            command[:at] + letter + command[at + 1 :],
            command[:at] + letter + command[at:],
        )
    )


def _other_grammar(rng: random.Random, command: str) -> str:
    swaps = [(old, new) for old, new in GRAMMAR_SWAPS if old in command]
    for old, new in rng.sample(swaps, k=rng.randint(1, len(swaps))) if swaps else ():
        command = command.replace(old, new)
    return command


def _extra_blanks(rng: random.Random, command: str) -> str:
    blank = rng.choice(("  ", "\t", "\n", "\u00a0", " \u2003"))
    return command.replace(" ", blank, 1) if " " in command else command + blank + "1"


def _blanks_around(rng: random.Random, command: str) -> str:
    before, after = (rng.choice(("", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\x1f", "\x85")) for _ in "ab")
    return before + command + after


def _other_case(rng: random.Random, command: str) -> str:
    return rng.choice((command.upper(), command.title(), command.capitalize()))


def _non_ascii(rng: random.Random, command: str) -> str:
    lookalikes = {"o": "\u043e", "e": "\u00e9", "a": "\u0430", "i": "\u0131", " ": "\u00a0", "1": "\uff11"}
    letters = [letter for letter in lookalikes if letter in command]
    letter = rng.choice(letters) if letters else command[0]
    return command.replace(letter, lookalikes.get(letter, "\u0301"))


def _other_number(rng: random.Random, command: str) -> str:
    words = command.split(" ")
    numbers = [at for at, word in enumerate(words) if word.isdigit()]
    if not numbers:
        return command + " 1"
    words[rng.choice(numbers)] = rng.choice(("0", "-1", "01", "2", "3", "7", "99", "1.0", "one", ""))
    return " ".join(words)


def _punctuated(rng: random.Random, command: str) -> str:
    return rng.choice((f"{command}.", f'"{command}"', f"> {command}", f"{command};", f"{command}\\n", f"{command}\x00"))


SLIPS: tuple[Slip, ...] = (
    _misspelled,
    _other_grammar,
    _extra_blanks,
    _blanks_around,
    _other_case,
    _non_ascii,
    _other_number,
    _punctuated,
)


def invalid_command(rng: random.Random, admissible: Sequence[str], seen: Sequence[str]) -> str:
    """A command that is (almost always) not admissible now; `seen` holds commands that once were."""
    now = set(admissible)
    elsewhere = [command for command in seen if command not in now]
    choice = rng.randrange(4)
    if choice == 0:
        return rng.choice(NONSENSE)
    if choice == 1 and elsewhere:
        return rng.choice(elsewhere)
    return rng.choice(SLIPS)(rng, rng.choice(admissible))

"""Is what the expert says true? Its claims, found by their wording, held against the game's hidden state."""

import re
from collections.abc import Iterator, Mapping

from alfworld_sft.prompts.tags import parse_reply
from alfworld_sft.types import Episode
from alfworld_sft.world import Env, Game

_NAME = r"([a-z]+ \d+)"


def false_claims(game: Game, episode: Episode, replaced: Mapping[int, str] | None = None) -> list[str]:
    """Return the claims in the trained turns' thoughts that do not hold; `replaced` gives other texts for turns."""
    env = Env(game, episode.max_steps)
    env.reset()
    false: list[str] = []
    for turn, step in enumerate(episode.steps):
        text = (replaced or {}).get(turn, step.reply.text)
        think = parse_reply(text, ("think", "action"), ()).think
        if step.reply.trained and think:
            false += [f"turn {turn}: {claim}" for claim, holds in _claims(env, think.lower()) if not holds]
        env.step(step.command)
    return false


def _claims(env: Env, think: str) -> Iterator[tuple[str, bool]]:
    """Yield each claim with whether it holds."""
    game, state = env.game, env.game_state
    names = {thing.name: o for o, thing in enumerate(game.objects)}
    places = {place.name: r for r, place in enumerate(game.receptacles)}
    inside = {
        (game.objects[o].name, place.name) for place, c in zip(game.receptacles, state.contents, strict=True) for o in c
    }
    held = game.objects[state.held].name if state.held >= 0 else ""
    for match in re.finditer(rf"{_NAME}(?: is|, which is) (?:in|on) {_NAME}", think):
        yield match[0], (match[1], match[2]) in inside
    for match in re.finditer(rf"{_NAME}(?: is|, which is) closed", think):
        yield match[0], game.receptacles[places[match[1]]].openable and not state.opened >> places[match[1]] & 1
    for match in re.finditer(rf"(?:there is no|see no) ([a-z]+) (?:in|on) {_NAME}", think):
        yield match[0], not any(name.startswith(match[1] + " ") and place == match[2] for name, place in inside)
    for match in re.finditer(rf"{_NAME} does not have (?:an?|some) ([a-z]+)", think):
        yield match[0], not any(name.startswith(match[2] + " ") and place == match[1] for name, place in inside)
    for match in re.finditer(
        rf"(?:i hold|with(?= [a-z]+ \d+ in my hand)|now that i have|i have(?= [a-z]+ \d+ )) {_NAME}", think
    ):
        yield match[0], match[1] == held
    for match in re.finditer(rf"{_NAME} is (clean|hot|cool) now", think):
        yield match[0], bool(getattr(state, match[2]) >> names[match[1]] & 1)
    for match in re.finditer(rf"\bat {_NAME} with {_NAME}", think):
        here = {game.receptacles[r].name for r in game.locations[state.location].receptacles}
        yield match[0], match[1] in here and match[2] == held

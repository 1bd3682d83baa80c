"""`alfworld-sft serve`: which games are served to OpenEnv's clients, where, and to how many?"""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from alfworld_sft.errors import UserError
from alfworld_sft.games import find_all_games, find_games
from alfworld_sft.games.cli import SourceOption
from alfworld_sft.terminal import printable

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on; the default is reached from this machine only.")] = (
        "127.0.0.1"
    ),
    source: SourceOption = None,
    split: Annotated[str | None, typer.Option(help="Serve only this split. Default: all that there are.")] = None,
    max_envs: Annotated[int, typer.Option(min=1, help="Most sessions at once; a further client is refused.")] = 256,
    idle_timeout: Annotated[
        float, typer.Option(min=1.0, help="Seconds after which a session without requests gives its place away.")
    ] = 1800.0,
) -> None:
    """Serve the games to OpenEnv's clients, each web socket a session of its own; Ctrl-C ends it."""
    try:
        from alfworld_sft.integrations import openenv  # noqa: PLC0415 (the other commands start without it)
    except ModuleNotFoundError as error:
        raise UserError(
            f"serve needs the package {error.name}; install it with: pip install 'alfworld-sft[openenv]'"
        ) from None
    found = [find_games(source, split)] if split else find_all_games(source)
    app = openenv.make_app(openenv.Catalogue(found), max_envs, idle_timeout)
    with openenv.listen(host, port) as listener:
        if host not in LOOPBACK:
            logger.warning(
                "%s can be reached from other machines, and the server asks for no password", printable(host)
            )
        for games in found:
            logger.info("serving %s", printable(games.description))
            if games.warning:
                logger.warning("%s", printable(games.warning))
        at = f"[{host}]" if ":" in host else host
        typer.echo(f"http://{at}:{listener.getsockname()[1]}")
        openenv.serve(app, listener)

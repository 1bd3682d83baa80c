import typer
from typer.testing import CliRunner

from alfworld_sft.report.cli import report_command

app = typer.Typer()
app.command()(report_command)


def test_games_that_nothing_is_replayed_in_are_refused(tmp_path):
    output = tmp_path / "r.html"
    words = [str(tmp_path), "--no-replay", "--games", "elsewhere", "-o", str(output)]
    assert "--games elsewhere has no effect with --no-replay" in str(CliRunner().invoke(app, words).exception)
    assert not output.exists()

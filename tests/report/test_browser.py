"""The report in a real browser: headless Chromium, without a network."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alfworld_sft.report.build import Options, make_report
from tests.report.runs import episodes, play, rewrite, say, write_training

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra `browser`")
pytest.importorskip("plotly", reason="the charts need the extra `report`")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
LINE = "x" * 1_000_000
HOSTILE = (
    '<script>document.title="pwned"</script><img src=x onerror=alert(1)> \U0001f34e \u202eabc \u0000 ￿'
    ' <a href="javascript:alert(1)">click</a> <action>go to desk 1</action>'
)


@pytest.fixture(scope="module")
def browser(file: Path) -> Iterator[Any]:
    """Chromium; it starts after the runs were played, since Playwright occupies the thread's event loop."""
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """A won run, a random run whose episode 0 is hostile, and a training run."""
    folder = tmp_path_factory.mktemp("runs")
    expert = play(folder, "expert", "env.max_steps=20")
    random = play(folder, "random <b>", "policy.name=random", "env.max_steps=20")
    first, second, *others = episodes(random)
    hostile = say(say(replace(first, task=HOSTILE), 0, HOSTILE), 1, LINE)
    rewrite(random, [hostile, second, *others])
    return [expert, random, write_training(folder / "model")]


@pytest.fixture(scope="module")
def file(runs, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("report") / "report.html"
    make_report(runs, output, Options())
    return output


@pytest.fixture
def open_page(browser, file) -> Iterator[Any]:
    """What opens the report at a fragment; in the end nothing may have been requested, logged or raised."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: None if request.url.startswith("file:") else problems.append(request.url))

    def opened(fragment: str = "", width: int = 1400) -> Any:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto("about:blank")
        page.goto(file.as_uri() + fragment)
        page.wait_for_selector("html[data-ready=all]", state="attached", timeout=60_000)
        return page

    yield opened
    context.close()
    assert problems == []


def lines(page: Any) -> list[list[str]]:
    """The cells of the lines that the table shows."""
    return [line.locator("td").all_inner_texts() for line in page.locator("tr[data-place]").all()]


def test_the_overview_shows_runs_success_comparison_and_plots(open_page):
    page = open_page()
    assert page.locator(".card h3").all_inner_texts() == ["expert evaluate", "random <b> evaluate", "model train"]
    success = page.locator("#success tbody tr").filter(has_text=re.compile("^all")).locator("td").first.inner_text()
    assert success.startswith("100.0 % 6/6")
    assert "p = " in page.inner_text("#comparisons")
    titles = page.locator("figcaption").all_inner_texts()
    assert {"Success by task type, with 95 % intervals", "Steps to success", "Learning rate", "reward/mean"} <= set(
        titles
    )
    assert page.locator("#plots .plot svg.main-svg").count() >= len(titles)


def test_filters_and_sorting(open_page, runs):
    page = open_page()
    assert page.inner_text("#found") == "12 of 12 episodes"
    page.select_option("#by-run", "1")
    page.select_option("#by-result", "lost")
    lost = sum(not episode.success for episode in episodes(runs[1]))
    assert page.inner_text("#found") == f"{lost} of 12 episodes"
    page.select_option("#by-result", "")
    page.fill("#by-game", "ALERT")
    assert [cells[0] for cells in lines(page)] == ["0"]
    page.fill("#by-game", "")
    page.select_option("#by-run", "0")
    page.get_by_role("button", name="steps", exact=True).click()
    steps = [int(cells[6]) for cells in lines(page)]
    assert steps == sorted(len(episode.steps) for episode in episodes(runs[0]))
    page.get_by_role("button", name="steps", exact=True).click()
    assert [int(cells[6]) for cells in lines(page)] == steps[::-1]


def test_the_text_of_the_turns_is_searched(open_page):
    page = open_page()
    page.fill("#by-text", "JAVASCRIPT:alert")
    sync_api.expect(page.locator("#found")).to_have_text("1 of 12 episodes")
    page.fill("#by-text", "no episode says this")
    sync_api.expect(page.locator("#found")).to_have_text("0 of 12 episodes")


def test_a_link_opens_a_turn_and_its_text_is_the_journal_s(open_page, runs):
    page = open_page("#run=0&episode=2&turn=2")
    episode = episodes(runs[0])[2]
    assert page.locator(".turn.chosen").get_attribute("id") == "turn-2"
    for number, step in enumerate(episode.steps, 1):
        turn = page.locator(f"#turn-{number}")
        texts = turn.locator(".text").evaluate_all("nodes => nodes.map((node) => node.textContent)")
        assert step.observation in texts
        assert step.next_observation in texts
        assert step.reply.text in texts
        assert turn.locator(".commands li").evaluate_all("nodes => nodes.map((node) => node.textContent)") == list(
            step.admissible_commands
        )
        assert "as the expert" in turn.inner_text()


def test_the_distance_falls_to_nothing(open_page, runs):
    page = open_page("#run=0&episode=0")
    steps = len(episodes(runs[0])[0].steps)
    assert "→ 0" in page.locator(f"#turn-{steps} .turn-head").inner_text()
    assert page.locator("svg.distance").get_attribute("aria-label").endswith(", 0")


def test_hostile_text_is_text(open_page, runs):
    page = open_page("#run=1&episode=0")
    assert page.title() == "Episode 0 · alfworld-sft report"
    assert HOSTILE in page.locator("#episode h2").evaluate("node => node.textContent")
    assert page.locator("#turn-1 details .text").last.evaluate("node => node.textContent") == HOSTILE
    assert page.locator("#episode img, #episode script, a[href^=javascript]").count() == 0
    block = page.locator("#turn-2 details").last
    block.locator("summary").click()
    block.get_by_role("button", name="show all 1,000,000 characters").click()
    assert block.locator(".text").evaluate("node => node.textContent") == LINE
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400


def test_the_prediction_is_marked_where_it_differs(open_page, runs):
    page = open_page("#run=0&episode=0")
    for number, step in enumerate(episodes(runs[0])[0].steps, 1):
        guess = step.reply.text.partition("<prediction>")[2].partition("</prediction>")[0]
        differs = page.locator(f"#turn-{number} ins, #turn-{number} del").count() > 0
        assert differs == (guess != step.next_observation), number


def test_keys(open_page):
    page = open_page()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#run=0&episode=1"
    page.wait_for_selector("#turn-1")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator(".turn.chosen").get_attribute("id") == "turn-2"
    assert page.evaluate("location.hash") == "#run=0&episode=1&turn=2"
    page.keyboard.press("n")
    page.wait_for_selector("h2:text('Episode 2')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#overview:not([hidden])")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "by-text"
    page.keyboard.press("Escape")
    theme = page.evaluate("document.documentElement.dataset.theme")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") != theme
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()


def test_two_runs_stand_side_by_side_to_where_they_part(open_page, runs):
    mine, theirs = episodes(runs[0])[1], episodes(runs[1])
    other = next(episode for episode in theirs if episode.game_id == mine.game_id)
    parting = next(
        n for n, (a, b) in enumerate(zip(mine.steps, other.steps, strict=False), 1) if a.command != b.command
    )
    page = open_page("#run=0&episode=1")
    page.get_by_role("link", name=f"random <b> #{other.index}").click()
    sync_api.expect(page.locator("#parting")).to_have_text(f"They part at turn {parting}.")
    assert page.locator(".beside .turn").count() == 2 * parting
    assert page.locator(".beside .parting code").first.inner_text() == f"> {mine.steps[parting - 1].command}"


OPENING, EPISODE, BESIDE = "", "#run=1&episode=1", "#run=0&episode=1&beside=1.1"


@pytest.mark.parametrize(
    ("fragment", "theme", "width"),
    [
        (OPENING, "light", 1400), (OPENING, "dark", 390),
        (EPISODE, "light", 390), (EPISODE, "dark", 820),
        (BESIDE, "light", 820), (BESIDE, "dark", 1400),
    ],
)  # fmt: skip
def test_nothing_is_wrong_for_a_screen_reader(open_page, fragment, theme, width):
    page = open_page(fragment, width)
    if page.evaluate("document.documentElement.dataset.theme") != theme:
        page.keyboard.press("t")
    violations = axe.Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("width", [1400, 820, 390])
@pytest.mark.parametrize("fragment", [OPENING, EPISODE, BESIDE])
def test_nothing_is_cut_off(open_page, fragment, width):
    assert open_page(fragment, width).evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_the_table_fills_its_width(open_page):
    page = open_page("", 390)
    width = page.evaluate("document.getElementById('scroller').clientWidth")
    assert page.locator("tr[data-place] td:visible").evaluate_all("cells => cells.length") == 4 * 12
    last = page.locator("tr[data-place='0'] td:visible").last
    assert last.evaluate("cell => cell.getBoundingClientRect().right") > width - 5


def test_a_missing_episode_is_said(open_page):
    page = open_page("#run=0&episode=99")
    assert page.inner_text("#episode") == "This report has no such episode. Back to the table"

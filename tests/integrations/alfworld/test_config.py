import sys

import pytest

from alfworld_sft.errors import UserError
from alfworld_sft.integrations.alfworld.config import load_config


@pytest.fixture
def load(tmp_path, monkeypatch):
    file = tmp_path / "base_config.yaml"

    def run(text, *words):
        file.write_text(text)
        monkeypatch.setattr(sys, "argv", ["program", str(file), *words])
        return load_config()

    return run


def test_a_config_is_read_and_its_values_replaced_by_texts(load):
    config = load("rl: {training: {steps: 50}}\n", "-p", "rl.training.steps=9", "rl.name=a")
    assert config == {"rl": {"training": {"steps": "9"}, "name": "a"}}


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("a: [", (), "it is not YAML"),
        ("- 1", (), "not a YAML mapping"),
        ("a: !!python/object/apply:os.getcwd []", (), "it is not YAML"),
        ("a: 1", ("-p", "b.c=1"), "a section that the config has"),
        ("a: {}", ("-p", "a.c"), "SECTION.KEY=VALUE"),
    ],
)
def test_what_is_no_config_is_refused(load, text, words, message):
    with pytest.raises(UserError, match=message):
        load(text, *words)

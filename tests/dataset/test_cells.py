"""Cells of tables that other programs wrote: what they spell is read, and what is cut is refused with its writer."""

from __future__ import annotations

import json

import pytest

from alfworld_sft.dataset.cells import EXCEL_CELL, explain_unreadable, is_cut_by_excel, looks_nested, parse_cell

MESSAGES = [{"role": "user", "content": "say \"go\",\nor 'stay'"}, {"role": "assistant", "content": "go"}]


@pytest.mark.parametrize("write", [json.dumps, repr, lambda value: json.dumps(json.dumps(value))])
def test_json_python_and_json_in_json_spell_the_same(write: object) -> None:
    assert parse_cell(write(MESSAGES)) == MESSAGES  # type: ignore[operator]
    assert parse_cell(f" {write(MESSAGES[0])}\n") == MESSAGES[0]  # type: ignore[operator]


@pytest.mark.parametrize(
    "text", ["look", '"go" is what I say', "{look", "[1, 2", '"go"', "{'a', 'b'}", "{{'a': 1}}", "[look](here)"]
)
def test_what_spells_no_list_or_dict_stays_text(text: str) -> None:
    assert parse_cell(text) == text


def test_nothing_is_executed() -> None:
    text = "[__import__('os').getcwd()]"
    assert parse_cell(text) == text


def test_deep_nesting_is_text_that_is_told() -> None:
    text = '{"a":' * 100_000
    assert parse_cell(text) == text
    assert looks_nested(text)
    assert "write Parquet" in explain_unreadable(text)


def test_a_cell_that_excel_cut_is_known_by_its_length_in_utf16() -> None:
    assert is_cut_by_excel("x" * EXCEL_CELL)
    assert is_cut_by_excel("\U0001f600" * (EXCEL_CELL // 2) + "x")
    assert not is_cut_by_excel("x" * (EXCEL_CELL - 1))
    assert not is_cut_by_excel("\U0001f600" * EXCEL_CELL)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"content": "' + "x" * (EXCEL_CELL - 13), "it has 32,767 characters, the most a cell of Excel holds, and"),
        ("[{'role': 'user'}\n {'role': 'assistant'}]", "it looks like a NumPy array as pandas.to_csv prints it"),
        ("{'turns': array([1, 2])}", "it looks like a NumPy array as pandas.to_csv prints it"),
        ("{'content': 'x", "it looks like a Python literal as pandas.to_csv writes it, and is not complete"),
        ('{"content": ' + "1" * 5000 + "}", "it begins like JSON and cannot be read (Exceeds the limit"),
        ('{"content": "x"', "it begins like JSON and cannot be read (Expecting ',' delimiter at character 16)"),
    ],
)
def test_what_cannot_be_read_says_who_wrote_it(text: str, reason: str) -> None:
    assert looks_nested(text)
    assert parse_cell(text) == text
    assert explain_unreadable(text).startswith(reason)

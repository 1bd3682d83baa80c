"""What reaches a terminal."""

from alfworld_sft.terminal import printable


def test_control_characters_are_spelt_out():
    assert printable("a\x1b[31mb\n\tc\u202ec日") == "a\\x1b[31mb\n\tc\\u202ec日"

"""SIGTERM stops a command as Ctrl-C does, with exit code 143."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from alfworld_sft.signals import ignore_further_sigterm, sigterm_interrupts, sigterm_noted


def send():
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_turns_exit_code_130_into_143():
    with pytest.raises(SystemExit) as end, sigterm_interrupts():
        try:
            send()
        except KeyboardInterrupt:
            sys.exit(130)
    assert end.value.code == 143


def test_an_error_on_the_way_out_keeps_its_exit_code():
    with pytest.raises(SystemExit) as end, sigterm_interrupts():
        try:
            send()
        except KeyboardInterrupt:
            sys.exit(2)
    assert end.value.code == 2


def test_ctrl_c_keeps_its_own():
    with pytest.raises(SystemExit) as end, sigterm_interrupts():
        sys.exit(130)
    assert end.value.code == 130


def test_asyncio_ends_its_tasks_first():
    ended = []

    async def task():
        try:
            send()
            await asyncio.sleep(60)
        finally:
            ended.append("cleaned up")

    with pytest.raises(SystemExit) as end, sigterm_interrupts():
        asyncio.run(task())
    assert (end.value.code, ended) == (143, ["cleaned up"])


def test_a_second_sigterm_does_not_interrupt_cleaning_up():
    cleaned = []
    with pytest.raises(SystemExit), sigterm_interrupts():
        try:
            send()
        finally:
            send()
            cleaned.append(True)
    assert cleaned == [True]


def test_noted_sigterm_interrupts_only_where_it_may():
    with sigterm_noted() as request:
        send()
        assert request.received
        with pytest.raises(KeyboardInterrupt), request.interrupting():
            raise AssertionError("it had come before")


def test_the_handler_before_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_noted():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("interrupt", ["SIG_IGN", "default_int_handler"])
def test_a_job_in_the_background_of_a_script_is_stopped_as_well(interrupt):
    """A shell without job control starts it with SIGINT ignored."""
    program = f"""
import os, signal, time
from alfworld_sft.signals import sigterm_interrupts
signal.signal(signal.SIGINT, signal.{interrupt})
with sigterm_interrupts():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 143


def test_an_ignored_sigterm_stays_ignored():
    program = """
import os, signal
from alfworld_sft.signals import sigterm_interrupts
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with sigterm_interrupts():
    os.kill(os.getpid(), signal.SIGTERM)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 0


def test_a_command_that_stops_already_is_left_alone():
    with sigterm_interrupts():
        ignore_further_sigterm()
        send()
    with pytest.raises(SystemExit), sigterm_interrupts():  # the next command can be stopped again
        send()


def test_a_second_sigterm_may_come_at_any_line_of_the_handler_of_the_first():
    """Torchrun's follows one to all processes; a handler that holds a lock would wait for itself."""
    program = """
import os, signal, sys
from alfworld_sft.signals import sigterm_noted
lines = set()
def follow(frame, event, _):
    if event == "line" and (line := (frame.f_code.co_filename, frame.f_lineno)) not in lines:
        lines.add(line)
        signal.raise_signal(signal.SIGTERM)
    return follow
with sigterm_noted() as request:
    sys.settrace(follow)
    request.handle(signal.SIGTERM, None)
    sys.settrace(None)
print(request.received, len(lines) > 1)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert ended.stdout == "True True\n", ended.stderr

"""The limit of open files is raised as far as the connections to a server need it."""

import subprocess
import sys


def limited(soft, hard, count):
    """What becomes of the limit of open files in a process of its own."""
    code = (
        "import resource\n"
        "from alfworld_sft.errors import UserError\n"
        "from alfworld_sft.policies.llm.open_files import allow_connections\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "try:\n"
        f"    allow_connections({count})\n"
        "except UserError as error:\n"
        "    print(error)\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def test_the_soft_limit_of_open_files_is_raised_as_far_as_the_connections_need_it():
    assert limited(64, 1024, 500) == ["628 1024"]
    assert limited(1024, 1024, 500) == ["1024 1024"]


def test_a_hard_limit_that_does_not_suffice_is_one_line_with_the_concurrency_that_would_work():
    assert limited(64, 256, 500) == [
        "runner.concurrency=500 takes about 628 open files, and this process may have 256 at most;"
        " set runner.concurrency=128, or raise the limit (ulimit -Hn)",
        "64 256",
    ]

"""The command as a user runs it: in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from worker.cli import COMMANDS, headrace, main
from worker.errors import FencedError

ROOT = Path(__file__).parents[2]


def run(*arguments, cwd, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_needs_nothing_heavy():
    # Every help text there is, top to bottom, and then a look at what was imported for it.
    code = """
import sys, click
from worker.cli import headrace
def walk(command, context):
    command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            walk(found, click.Context(found, parent=context, info_name=name))
walk(headrace, click.Context(headrace, info_name="headrace"))
heavy = {"numba", "numpy", "pyarrow", "confluent_kafka", "pydantic", "rich", "prometheus_client"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_has_help_and_an_example():
    def walk(command, context):
        assert command.help, context.command_path
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                walk(found, click.Context(found, parent=context, info_name=name))
        else:
            assert "headrace" in (command.epilog or ""), f"{context.command_path} shows no example"

    walk(headrace, click.Context(headrace, info_name="headrace"))


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_where_the_table_says(name):
    assert headrace.get_command(click.Context(headrace), name).name == name


def test_version(tmp_path):
    assert run("--version", cwd=tmp_path).stdout.startswith("headrace, version ")


def test_an_error_of_the_configuration_is_a_message_and_exit_2(tmp_path):
    (tmp_path / "headrace.toml").write_text("[kafka]\ngrop = 'x'\n[features.user]\n")
    done = run("config", "check", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "headrace: headrace.toml: kafka.grop: no such setting; did you mean kafka.group?\n"
    assert done.stdout == ""


def test_the_file_is_the_one_given_the_one_in_the_environment_or_the_one_in_the_folder(tmp_path):
    for name in ("headrace", "environment", "given"):
        (tmp_path / f"{name}.toml").write_text(f'[kafka]\ngroup = "{name}"\n[features.user]\n')

    def group(*arguments, **environment):
        shown = run("config", "show", "--json", *arguments, cwd=tmp_path, **environment)
        return json.loads(shown.stdout)["settings"]["kafka"]["group"]

    assert group() == "headrace"
    assert group(HEADRACE_CONFIG="environment.toml") == "environment"
    assert group("-c", "given.toml", HEADRACE_CONFIG="environment.toml") == "given"
    assert group(HEADRACE_KAFKA__GROUP="variable") == "variable"


def test_show_tells_scopes_and_origins(tmp_path):
    (tmp_path / "headrace.toml").write_text("[features.user]\n[features.item]\n[log]\nlevel = 'debug'\n")
    shown = run("config", "show", cwd=tmp_path, HEADRACE_LOG__FORMAT="json").stdout
    assert "[features.user]  # local: learned by one shard" in shown
    assert "[features.item]  # shared by all shards" in shown
    assert 'level = "debug"  # headrace.toml' in shown
    assert 'format = "json"  # HEADRACE_LOG__FORMAT' in shown


def test_the_example_is_good(tmp_path):
    (tmp_path / "headrace.toml").write_text(run("config", "example", cwd=tmp_path).stdout)
    done = run("config", "check", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "headrace.toml: good; 2 features, 1 local to their shard, 1 shared\n")


@pytest.mark.parametrize("arguments", [("doctor", "--timeout", "1"), ("topics", "check")])
def test_no_broker_is_exit_3(tmp_path, arguments):
    (tmp_path / "headrace.toml").write_text('[kafka]\nbootstrap_servers = "127.0.0.1:1"\n[features.user]\n')
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 3
    assert "no broker answered at 127.0.0.1:1" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_or_option_is_exit_2(tmp_path):
    assert run("confg", cwd=tmp_path).returncode == 2
    assert run("config", "check", "--frobnicate", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (FencedError("taken over"), 5, "headrace: taken over\n"),
        (KeyboardInterrupt(), 130, None),
        (SystemExit(7), 7, ""),
    ],
)
def test_errors_become_exit_codes_in_one_place(monkeypatch, capsys, raised, code, told):
    @click.command()
    def failing():
        raise raised

    monkeypatch.setattr(headrace, "get_command", lambda _context, _name: failing)
    with pytest.raises(SystemExit) as caught:
        main(["failing"])
    assert caught.value.code == code
    shown = capsys.readouterr().err
    assert told is None or shown == told
    assert "Traceback" not in shown

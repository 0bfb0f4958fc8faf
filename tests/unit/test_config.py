"""Options: what each source may say, and which one wins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from alchemy import config
from alchemy.config import Launch, Settings, resolve
from alchemy.errors import ConfigurationError
from alchemy.options import OPTIONS


@pytest.fixture
def project(tmp_path: Path) -> Any:
    """Give a folder that options are looked up in, and the command line's options."""

    def make(pyproject: str = "", **given: Any) -> None:
        (tmp_path / "pyproject.toml").write_text(pyproject)
        config.launch.set(Launch(root=tmp_path, options=given))

    token = config.launch.set(Launch(root=tmp_path))
    yield make
    config.launch.reset(token)


def test_every_option_is_a_setting_with_the_same_default(project: Any) -> None:
    """The table and the resolved form do not drift apart."""
    assert [option.name for option in OPTIONS] == [field.name for field in dataclasses.fields(Settings)][:-2]
    plain = resolve({})
    for option in OPTIONS:
        if not callable(option.default):
            assert getattr(plain, option.name) == option.default, option.name
        assert option.help.endswith(".")


def test_the_strongest_source_wins(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code, command line, environment, pyproject.toml, default; each may leave it to the next."""
    assert resolve({}).max_retries == 3
    project("[tool.alchemy]\nmax_retries = 4\n")
    assert resolve({}).max_retries == 4
    monkeypatch.setenv("ALCHEMY_MAX_RETRIES", "5")
    assert resolve({}).max_retries == 5
    project("[tool.alchemy]\nmax_retries = 4\n", max_retries=6)
    assert resolve({}).max_retries == 6
    assert resolve({"max_retries": 7}).max_retries == 7
    assert resolve({"max_retries": None}).max_retries == 6
    monkeypatch.setenv("ALCHEMY_MAX_RETRIES", "")
    project("[tool.alchemy]\nmax_retries = 4\n")
    assert resolve({}).max_retries == 4


def test_what_the_environment_may_say(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text becomes the value; a timeout there is in milliseconds."""
    for name, text in {
        "ALCHEMY_STAGE": "prod",
        "ALCHEMY_PASSWORD": "pw",
        "ALCHEMY_STATE_STORE": "memory:",
        "ALCHEMY_STATE_DIR": "state",
        "ALCHEMY_LOCK_TIMEOUT": "1500",
        "ALCHEMY_DESTROY_STRATEGY": "parallel",
        "ALCHEMY_MAX_RETRIES": "0",
        "ALCHEMY_PARALLELISM": "2",
        "ALCHEMY_LOCAL": "yes",
    }.items():
        monkeypatch.setenv(name, text)
    got = resolve({})
    assert (got.stage, got.password, got.state_store, got.state_dir) == ("prod", "pw", "memory:", "state")
    assert (got.lock_timeout, got.destroy_strategy, got.max_retries) == (1.5, "parallel", 0)
    assert (got.parallelism, got.local) == (2, True)
    assert "pw" not in repr(got)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stgae": "x"}, "there is no option 'stgae' (did you mean 'stage'?)"),
        ({"phase": "up!"}, "the option 'phase' is 'up!': expected one of up, destroy, read"),
        ({"destroy_strategy": "paralel"}, "did you mean 'parallel'?"),
        ({"max_retries": -1}, "expected a whole number of at least 0"),
        ({"max_retries": "x"}, "the option 'max_retries'"),
        ({"parallelism": 0}, "expected a whole number of at least 1"),
        ({"batch_size": 2.5}, "the option 'batch_size'"),
        ({"timeout": float("inf")}, "the option 'timeout'"),
        ({"timeout": float("nan")}, "the option 'timeout'"),
        ({"adopt": 1}, "the option 'adopt' cannot be 1"),
        ({"max_retries": True}, "the option 'max_retries' cannot be True"),
        ({"password": 5}, "the option 'password' must be text, not int"),
        ({"stage": 5}, "the option 'stage' must be text, not int"),
    ],
)
def test_mistakes_are_named(project: Any, given: dict[str, Any], message: str) -> None:
    """What is wrong, and what was meant."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("ALCHEMY_LOCAL", "maybe"), ("ALCHEMY_PARALLELISM", "many"), ("ALCHEMY_LOCK_TIMEOUT", "-1")],
)
def test_mistakes_in_the_environment_name_the_variable(
    project: Any, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    """And show what it holds."""
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigurationError, match=f"the environment variable {name} is '{text}'"):
        resolve({})


@pytest.mark.parametrize(
    ("pyproject", "message"),
    [
        ("[tool.alchemy\n", "pyproject.toml cannot be read"),
        ("[tool]\nalchemy = 1\n", "[tool.alchemy] in pyproject.toml must be a table"),
        ("[tool.alchemy]\nstgae = 'x'\n", "there is no option 'stgae'"),
    ],
)
def test_mistakes_in_the_project_are_named(project: Any, pyproject: str, message: str) -> None:
    """A file that cannot be read, or says what is no option."""
    project(pyproject)
    with pytest.raises(ConfigurationError) as caught:
        resolve({})
    assert message in str(caught.value)


def test_a_project_may_name_its_application(project: Any) -> None:
    """`app` is not an option, and no mistake."""
    project("[tool.alchemy]\napp = 'notes'\nstage = 'here'\n")
    assert resolve({}).stage == "here"


def test_nested_settings(project: Any) -> None:
    """A scope's own options lie on top; `None` says nothing."""
    outer = resolve({"adopt": True, "password": "pw"})
    assert outer.nested({}) is outer
    inner = outer.nested({"adopt": None, "timeout": 3})
    assert (inner.adopt, inner.timeout, inner.password) == (True, 3.0, "pw")
    with pytest.raises(ConfigurationError, match="a nested scope cannot change 'phase'"):
        outer.nested({"phase": "read"})

"""What the console was told when it was started: which collection, which inventory, who may talk to it."""

from __future__ import annotations

import hmac
import ipaddress
import sys
from dataclasses import dataclass
from pathlib import Path

LEAST_TOKEN = 16  # characters; shorter ones can be guessed


class SettingsError(Exception):
    """The console cannot be started like this; one line saying what is wrong and what to do."""


@dataclass(frozen=True)
class Settings:
    """``arguments`` are further words for every ``ansible-playbook``; ``token`` is None on loopback."""

    root: Path  #: of the collection's checkout: playbooks/, roles/, ansible.cfg
    inventory: str
    arguments: tuple[str, ...]
    runs: Path  #: folder of all runs
    host: str
    port: int
    token: str | None

    @property
    def state(self) -> Path:
        """Where the console keeps its lock and its jobs; no drill looks there."""
        return self.runs / ".console"

    @property
    def own_runs(self) -> bool:
        """Whether the runs are elsewhere than the playbooks put them by themselves."""
        return self.runs != default_runs(self.root)

    def playbook(self, name: str) -> list[str]:
        """The command line that runs a playbook without options; by hand it is typed in the checkout's folder."""
        return ["ansible-playbook", "-i", self.inventory, *self.arguments, f"playbooks/{name}.yml"]

    def is_token(self, presented: str) -> bool:
        """Whether this is the token. Takes the same time for every wrong one."""
        return self.token is not None and hmac.compare_digest(presented.encode(), self.token.encode())


def default_runs(root: Path) -> Path:
    """Where the playbooks of a checkout put their runs, unless ``drill_runs_dir`` says otherwise."""
    return root / "runs"


def ansible_playbook() -> Path:
    """The program that runs playbooks, of the environment that the console itself runs in."""
    return Path(sys.executable).parent / "ansible-playbook"


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to ``host``; of names only ``localhost`` is trusted to be so."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(host: str, token_file: Path | None) -> str | None:
    """The token that clients must present, None when the console listens on loopback and no file is named.

    :raises SettingsError: the file holds no usable token, or others could reach the console without one.
    """
    if token_file is None:
        if is_loopback(host):
            return None
        raise SettingsError(
            f"others can reach {host}: name a file with a token of at least {LEAST_TOKEN} characters "
            "(--token-file FILE), or listen on 127.0.0.1"
        )
    try:
        token = token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the token file {token_file} cannot be read: {error}") from error
    if len(token) < LEAST_TOKEN or any(character.isspace() for character in token):
        raise SettingsError(f"{token_file}: expected one token of at least {LEAST_TOKEN} characters without spaces")
    return token

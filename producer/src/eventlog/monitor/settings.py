"""The monitor's own keys of ``etc/pipeline.toml``, and what they mean for who may talk to it."""

from __future__ import annotations

import hmac
import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path

from eventlog.config import Config, ConfigError

LOG_SECONDS = 10.0
LEAST_TOKEN = 16  # characters; shorter ones can be guessed


@dataclass(frozen=True, slots=True)
class Settings:
    """``token``: what a client must present, None on loopback or a private network; ``log_seconds``: between two lines
    in the log."""

    token: str | None
    log_seconds: float

    def admits(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header is good enough. Takes the same time for every wrong token."""
        if self.token is None:
            return True
        scheme, _, presented = (authorization or "").partition(" ")
        return hmac.compare_digest(presented.strip().encode(), self.token.encode()) and scheme.lower() == "bearer"


def read_settings(path: Path, config: Config) -> Settings:
    """The optional keys ``monitor.token_file``, ``monitor.private_network`` and ``monitor.log_seconds`` of the file at
    ``path``.

    ``private_network`` says that only the pipeline's own containers, and whoever may publish their ports, can reach the
    address, which cannot be told from the address itself.

    Raises ConfigError, also when the monitor would listen beyond this machine without a token.
    """
    section = tomllib.loads(path.read_text(encoding="utf-8"))["monitor"]
    log_seconds = section.get("log_seconds", LOG_SECONDS)
    if isinstance(log_seconds, bool) or not isinstance(log_seconds, int | float) or not 0 < log_seconds <= 86400:
        raise ConfigError(f"{path}: monitor.log_seconds is {log_seconds!r}, expected a number of seconds up to 86400")
    token_file = section.get("token_file")
    if token_file is not None:
        return Settings(_read_token(path, token_file), float(log_seconds))
    private = section.get("private_network", False)
    if not isinstance(private, bool):
        raise ConfigError(f"{path}: monitor.private_network is {private!r}, expected true or false")
    if not (private or is_loopback(config.monitor.host)):
        raise ConfigError(
            f"{path}: monitor.host is {config.monitor.host}, which others can reach: set monitor.token_file to a file"
            f" holding a token of at least {LEAST_TOKEN} characters, or listen on 127.0.0.1"
        )
    return Settings(None, float(log_seconds))


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to ``host``; of names only ``localhost`` is trusted to be so."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_token(path: Path, token_file: object) -> str:
    if not isinstance(token_file, str) or not Path(token_file).is_absolute():
        raise ConfigError(f"{path}: monitor.token_file is {token_file!r}, expected an absolute path")
    try:
        token = Path(token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: monitor.token_file {token_file} cannot be read: {error}") from error
    if len(token) < LEAST_TOKEN or any(character.isspace() for character in token):
        raise ConfigError(f"{token_file}: expected one token of at least {LEAST_TOKEN} characters without spaces")
    return token

"""Settings: one frozen Struct per service, read once from the environment, refused with the variable's name."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import platformdirs

S = TypeVar("S", bound=msgspec.Struct)


class SettingsError(Exception):
    """A setting is missing or wrong; the message names the environment variable."""


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers are (environment: NATS_URL, DATABASE_URL, ARTIFACTS_URL)."""

    nats_url: str = "nats://127.0.0.1:4222"
    """The broker; user and password may be part of it."""
    database_url: str = "postgresql://127.0.0.1:5432/subtide"
    """The projection's Postgres."""
    artifacts_url: str = ""
    """Where uploads and results are stored: file://, s3://, gs:// or az://. Default: a folder of the user's."""

    def __post_init__(self) -> None:
        if not self.artifacts_url:
            folder = Path(platformdirs.user_data_dir("subtide")) / "artifacts"
            msgspec.structs.force_setattr(self, "artifacts_url", folder.as_uri())


def load(kind: type[S], prefix: str, environ: Mapping[str, str]) -> S:
    """A settings Struct from the variables `<prefix><FIELD>`; a field without a variable keeps its default.

    Raises SettingsError naming the first variable that is missing or does not fit.
    """
    variables = {field.name: f"{prefix}{field.name.upper()}" for field in msgspec.structs.fields(kind)}
    given = {name: environ[variable] for name, variable in variables.items() if environ.get(variable, "") != ""}
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        reason = str(error)
        for name, variable in variables.items():
            if f"`$.{name}`" in reason or f"`{name}`" in reason:
                raise SettingsError(f"{variable}: {reason}") from None
        raise SettingsError(f"settings {prefix}*: {reason}") from None

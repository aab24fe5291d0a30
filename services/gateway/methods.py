"""The header Allow of OPTIONS: the framework's names only those methods of an address that it met first."""

from litestar import Litestar
from litestar.types import Message, Scope


async def name_all(message: Message, scope: Scope) -> None:
    """Before an answer is sent: name all methods of the address that was asked for."""
    if message["type"] != "http.response.start" or scope.get("method") != "OPTIONS":
        return
    app: Litestar = scope["litestar_app"]
    template = scope.get("path_template")
    methods = {
        method for route in app.routes if route.path_format == template for method in getattr(route, "methods", ())
    }
    kept = [(name, value) for name, value in message["headers"] if name.lower() != b"allow"]
    message["headers"] = [*kept, (b"allow", ", ".join(sorted(methods)).encode())]

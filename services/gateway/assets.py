"""Where the page of the API reference finds its script: installed once by `subtide assets pull`, served from here.

No page of ours loads anything from another host.
"""

from pathlib import Path

import platformdirs

SCALAR_VERSION = "1.72.1"


def scalar_path() -> Path:
    """The script of @scalar/api-reference, in the user's cache; there only after `subtide assets pull`."""
    return Path(platformdirs.user_cache_dir("subtide")) / "assets" / f"scalar-{SCALAR_VERSION}.js"

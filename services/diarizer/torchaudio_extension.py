"""Lets torchaudio be imported where its native extension cannot be loaded.

PyPI's torchaudio is built for CUDA, and its extension does not load on a machine without. pyannote.audio needs only
the parts of torchaudio that are plain Python (Kaldi-compatible filter banks), so there a stand-in says that there is
no extension, as torchaudio's own module does on builds without one. Where the real one loads, nothing is touched.
"""

import sys
import types
from collections.abc import Callable
from typing import Any


def ensure_importable() -> bool:
    """Import torchaudio, with the stand-in if need be. Returns whether it has its extension. Safe to repeat."""
    try:
        import torchaudio
    except (OSError, ImportError, RuntimeError):  # a library that is absent, of another build, of another CUDA
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio._extension"] = _stand_in()
        import torchaudio  # noqa: F401
    return bool(sys.modules["torchaudio._extension"]._IS_TORCHAUDIO_EXT_AVAILABLE)


def _stand_in() -> types.ModuleType:
    module = types.ModuleType("torchaudio._extension", "No native extension (see services.diarizer).")
    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False, _IS_ALIGN_AVAILABLE=False, fail_if_no_align=_fail("forced alignment")
    )
    return module


def _fail(what: str) -> Callable[[Any], Any]:
    def decorate(_: Any) -> Any:
        def absent(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"{what} needs torchaudio's native extension, which cannot be loaded here")

        return absent

    return decorate

"""Model files from the Hugging Face hub."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from chassis.models import HubSource, Variant
from cli.models.refusal import DISK_FULL, SourceFailed

_ANSWER_S = 10.0


def fetch_from_hub(source: HubSource, variant: Variant, environ: Mapping[str, str], staging: Path) -> None:
    """Download a repository's files into `staging`. HF_TOKEN or a login of the hub's own command gives the token;
    HF_ENDPOINT names a mirror. Raises SourceFailed."""
    try:
        import huggingface_hub
        import huggingface_hub.utils
        from huggingface_hub import errors
    except ImportError as error:
        raise SourceFailed(f"{error.name} is not installed; run: pip install 'subtide[cli]'") from error
    endpoint = environ.get("HF_ENDPOINT") or None
    token = environ.get("HF_TOKEN") or huggingface_hub.get_token()
    if source.gated and not token:
        raise SourceFailed("it needs a Hugging Face token whose owner accepted its conditions; set HF_TOKEN")
    huggingface_hub.utils.disable_progress_bars()  # type: ignore[attr-defined]  # documented, not exported
    # Not exported, and from another HTTP library in every major version.
    http_errors: type[Exception] = vars(errors)["HTTPError"]
    try:
        # Asked first because it answers at once where there is no network; the download would retry for half a minute.
        huggingface_hub.HfApi(endpoint=endpoint, token=token or False).repo_info(
            source.repo, revision=source.revision, timeout=_ANSWER_S
        )
        huggingface_hub.snapshot_download(
            source.repo,
            revision=source.revision,
            local_dir=staging,
            allow_patterns=[file.path for file in variant.files] or source.patterns or None,
            endpoint=endpoint,
            token=token or False,
            library_name="subtide",
        )
    except errors.GatedRepoError as error:
        raise SourceFailed("the owner of this Hugging Face token has not accepted its conditions") from error
    except errors.OfflineModeIsEnabled as error:
        raise SourceFailed("HF_HUB_OFFLINE is set") from error
    except (OSError, http_errors, errors.HFValidationError, errors.EntryNotFoundError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        reached = isinstance(error, (errors.HfHubHTTPError, errors.HFValidationError, errors.EntryNotFoundError))
        raise SourceFailed(_first_line(error) if reached else f"no answer ({_first_line(error)})") from error
    shutil.rmtree(staging / ".cache", ignore_errors=True)
    missing = [path for path in source.required if not variant.files and not (staging / path).is_file()]
    if missing:
        raise SourceFailed(f"it has no {missing[0]}")


def _first_line(error: BaseException) -> str:
    """The hub's messages run over many lines; the first that says something is enough."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__

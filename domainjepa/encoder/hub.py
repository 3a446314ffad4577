"""Encoders of a hub: hf://OWNER/NAME[@REVISION], downloaded once and kept.

Only `encoder.safetensors` is asked for, which holds weights and JSON and runs nothing. A revision
that is a commit is looked up in the cache alone once it is there; a branch or a tag, and `main`
where none is given, is asked for each time, and taken from the cache where there is no network.
The hub is that of `HF_ENDPOINT`, the cache that of `HF_HUB_CACHE` or `HF_HOME`, the token that of
`hf auth login`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from domainjepa.errors import MissingExtra, UserError

PREFIX = "hf:"
_ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def on_hub(path: Path) -> bool:
    """Whether this is hf://…; `Path` makes hf:/… of it."""
    return path.parts[:1] == (PREFIX,)


def downloaded(path: Path, file: str) -> Path:
    """A file of a repository, in the cache.

    Args:
        path: hf://OWNER/NAME or hf://OWNER/NAME@REVISION, a commit, tag or branch.
        file: its name there.

    Raises:
        UserError: no such address, repository, revision or file, or no network and nothing kept.
        MissingExtra: huggingface_hub is not installed.
    """
    found = _ADDRESS.fullmatch(path.as_posix())
    if found is None:
        raise UserError(f"{path.as_posix()}: write hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    try:
        from huggingface_hub import constants, errors, hf_hub_download
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hub", "an encoder of a hub") from error
    repo, revision = found["repo"], found["revision"]
    told = f"hf://{repo}" + (f"@{revision}" if revision else "")
    try:
        kept = hf_hub_download(
            repo,
            file,
            revision=revision,
            endpoint=os.environ.get("HF_ENDPOINT") or None,
            cache_dir=os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE,
        )
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{told}: the repository has no such revision.") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{told}: there is no such repository, or it is private and asks for a token "
            "(hf auth login)."
        ) from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise UserError(
                f"{told} is not in the cache, and the hub cannot be reached: try again with a "
                "network, or give the file."
            ) from error
        raise UserError(f"{told} holds no {file}: it is no encoder of domainjepa.") from error
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise UserError(f"{told} could not be downloaded: {type(error).__name__}.") from error
    return Path(kept)

"""Where published weights lie: a folder or file of this machine, or a folder of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from mudra.errors import ModelError
from mudra.models.published import is_weights_file

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
WANTED = ("*.safetensors", "*.json")  # no code, and nothing that is unpickled


def local_folder(source: str | Path) -> Path:
    """The folder or file itself, or the local copy of a hub id such as "facebook/timesformer-base-finetuned-k400".

    What lies here goes before the hub, and so does a name whose first part is a folder here ("runs/mistyped").

    Raises:
        ModelError: there is no such folder and none can be fetched.
    """
    folder, name = Path(source), Path(source).as_posix()
    here = folder.is_dir() or folder.parent.is_dir() or is_weights_file(folder)
    if here or not HUB_ID.fullmatch(name):
        return folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ModelError(
            f"{name}: there is no such folder here, and the Hugging Face hub needs an extra that is not installed. "
            "Give a local folder, or pip install 'mudra[hf]'."
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except Exception as problem:  # offline, unknown, not allowed: the hub's clients have no common error
        reason = " ".join(str(problem).split())[:200]
        raise ModelError(
            f"{name}: there is no such folder here, and the Hugging Face hub did not give it "
            f"({type(problem).__name__}: {reason}). Check the name and the network, or give a local folder."
        ) from None

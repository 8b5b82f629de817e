"""mudra recognises gestures, signs and actions in video, in body keypoints, and in several streams at once.

>>> import mudra
>>> recognizer = mudra.load("RUN")              # doctest: +SKIP
>>> recognizer.predict("clip.mp4").label        # doctest: +SKIP
'swipe left'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mudra.recognizer import Recognizer, load

    __version__: str

__all__ = ["Recognizer", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Imported when first used: `load` and `Recognizer` bring torch, the version is looked up on the disk."""
    if name in ("load", "Recognizer"):
        from mudra import recognizer

        return getattr(recognizer, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("mudra")
    raise AttributeError(f"module 'mudra' has no attribute {name!r}")

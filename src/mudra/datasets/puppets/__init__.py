"""The built-in data: drawn persons who act out gestures, with every stream exactly aligned.

Made for the demo, the tests and the benchmarks; it never stands in for real data in a claim of accuracy.

    settings -> plan (what each clip shows) -> staging (shapes over time) -> painting, tracking -> files
                people, gestures, things         body, figure, face, scenery      clip             writing
"""

from mudra.datasets.puppets.settings import Puppets
from mudra.datasets.puppets.writing import cached, write

__all__ = ["Puppets", "cached", "write"]

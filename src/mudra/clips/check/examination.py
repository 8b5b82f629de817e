"""The order in which a data set is examined: its list of clips, then each stream's files, singly and together."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mudra.clips.check import balance, outliers, twins
from mudra.clips.check.findings import Report
from mudra.clips.check.inspection import bytes_digest, inspect, look_at
from mudra.clips.check.sensors import odd_channels, odd_clocks
from mudra.clips.check.stream_files import StreamFiles
from mudra.clips.manifest import Manifest
from mudra.clips.workers import Crew, Failure
from mudra.progress import Progress
from mudra.types import UNLABELLED


def check(
    manifest: Manifest,
    *,
    workers: int | None = None,
    decode: bool = True,
    limit: float = 60.0,
    progress: Progress | None = None,
) -> Report:
    """Examine a data set.

    Args:
        workers: processes that decode, by default one a core; 0 decodes in this one, without a time limit.
        decode: read every file whole; else only ask whether it is there, and how large it is.
        limit: seconds that one file may take.
        progress: told what is being done, how much of it is done, and how much there is.
    """
    report = Report(facts=_counts(manifest))
    report.problems += balance.problems(manifest)
    report.warnings += balance.warnings(manifest)
    lengths: dict[str, dict[int, float]] = {}
    with Crew(workers if decode else 0, limit, progress) as crew:  # asking for sizes is not worth a process
        for stream in manifest.files:
            lengths[stream] = _examine(StreamFiles(manifest, stream, report), crew, decode)
    report.warnings += odd_clocks(lengths)
    return report


def _examine(stream: StreamFiles, crew: Crew, decode: bool) -> dict[int, float]:
    """One stream: read its files, then compare them.

    Returns:
        how long each clip lasts in it, seconds by row.
    """
    name = stream.name
    for file, result in crew.each(f"reading {name}", inspect, stream.jobs(decode)):
        stream.note(file, result)
    stream.unfold()
    outliers.windows(stream)
    outliers.shapes(stream)
    outliers.unusual(stream)
    outliers.nothing_seen(stream)
    series = [file.seen for file in stream.files if file.seen.least]
    stream.report.warnings += odd_channels(name, series)
    alike = twins.same_size(stream)
    for at, digest in crew.each(f"comparing {name}", bytes_digest, [file.job.path for file in alike]):
        alike[at].content = digest if isinstance(digest, str) else ""
    twins.same_content(stream)
    if decode and stream.manifest.streams[name].kind == "video":
        rows, windows = twins.may_look_alike(stream)
        looks = crew.each(f"looking at {name}", look_at, windows)
        twins.same_looks(stream, {rows[at]: look for at, look in looks if not isinstance(look, Failure)})
    stream.report.facts.setdefault("streams", {})[name] = stream.facts()
    return stream.lengths()


def _counts(manifest: Manifest) -> dict[str, Any]:
    facts: dict[str, Any] = {"clips": len(manifest)}
    if manifest.has_splits:
        facts["splits"] = dict(Counter(manifest.split_names()))
    facts["classes"] = {task: len(names) for task, names in manifest.tasks.items()}
    unlabelled = {task: int((numbers == UNLABELLED).sum()) for task, numbers in manifest.labels.items()}
    if any(unlabelled.values()):
        facts["unlabelled"] = unlabelled
    groups = {group for group in manifest.groups.to_pylist() if group}
    return facts | ({"groups": len(groups)} if groups else {})

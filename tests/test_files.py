"""Writing whole or not at all: the order of the calls, and an error at every one of them."""

import errno
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mudra.errors import OutputError
from mudra.files import new_folder, replace_file, sweep, write_flushed
from mudra.training import checkpoints
from tests.teams import Child

CALLS = ("open", "write", "fsync", "replace", "mkdir")
TENSORS = {
    "model": {
        "w": torch.arange(6.0).reshape(2, 3),
        "steps": torch.tensor(3),
        "half": torch.ones(3).bfloat16(),
    },
    "optimiser": {"exp_avg.w": torch.zeros(2, 3), "none": torch.zeros(0, 4)},
}


class Calls:
    """Counts the calls that write, and lets one of them fail."""

    def __init__(self, monkeypatch, fails: int = -1, code: int = errno.ENOSPC) -> None:
        self.made: list[tuple[str, str]] = []
        names: dict[int, str] = {}
        for name in CALLS:
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name), names, fails, code))

    def _watched(self, name, real, names, fails, code):
        def call(first, *rest, **named):
            if name == "open" and not rest[0] & (os.O_WRONLY | os.O_RDWR):
                handle = real(first, *rest, **named)
                names[handle] = str(first)
                return handle
            self.made.append((name, names.get(first, "") if isinstance(first, int) else str(first)))
            if len(self.made) - 1 == fails:
                raise OSError(code, os.strerror(code))
            result = real(first, *rest, **named)
            if name == "open":
                names[result] = str(first)
            return result

        return call


def save(root, step):
    return checkpoints.save(root, step, TENSORS, {"counters": {"step": step}})


def test_content_is_flushed_before_it_gets_its_name_and_the_name_after(tmp_path, monkeypatch):
    calls = Calls(monkeypatch)
    replace_file(tmp_path / "name", b"content")
    made = [call for call in calls.made if call[0] != "mkdir"]
    beside = made[0][1]
    assert made == [
        ("open", beside), ("write", beside), ("fsync", beside), ("replace", beside), ("fsync", str(tmp_path)),
    ]  # fmt: skip
    assert Path(beside).parent == tmp_path


def test_a_checkpoint_is_flushed_file_by_file_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = Calls(monkeypatch)
    save(tmp_path, 1)
    made = [(name, Path(place).name) for name, place in calls.made]
    named = next(at for at, (name, _) in enumerate(made) if name == "replace")
    for file in ("model.safetensors", "optimiser.safetensors", "state.json", "manifest.json"):
        written = max(at for at, call in enumerate(made) if call == ("write", file))
        assert written < made.index(("fsync", file), written) < named
    assert ("fsync", tmp_path.name) in made[named:]


def test_an_error_at_any_call_of_a_save_damages_nothing(tmp_path, monkeypatch):
    with monkeypatch.context() as counted:
        calls = Calls(counted)
        save(tmp_path / "count", 1)
        save(tmp_path / "count", 1)  # once more over the first: that has its own way
        total = len(calls.made)
    assert total > 20
    injected = 0
    for at in range(total):
        root = tmp_path / str(at)
        save(root, 1)
        with monkeypatch.context() as broken:
            calls = Calls(broken, fails=at, code=(errno.ENOSPC, errno.EIO)[at % 2])
            with suppress(OutputError):
                save(root, 2)
                save(root, 2)
            injected += len(calls.made) > at
        assert not sweep(root)
        checkpoints.recover(root)
        assert checkpoints.steps(root)[0] == 1
        for step in checkpoints.steps(root):
            checkpoints.verify(checkpoints.folder_of(root, step))
        assert not list(root.glob(".*"))
        save(root, 3)
        checkpoints.verify(checkpoints.folder_of(root, 3))
    assert injected == total


def test_a_save_over_the_same_step_that_fails_leaves_the_first(tmp_path, monkeypatch):
    path = save(tmp_path, 2)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    Calls(monkeypatch, fails=5)
    with pytest.raises(OutputError):
        save(tmp_path, 2)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("limit", [0, 1, 100, 300, 5000])
def test_a_real_limit_of_the_system_is_an_output_error(tmp_path, limit):
    """EFBIG from the system itself, as with `ulimit -f`."""
    save(tmp_path, 1)

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            checkpoints.save(tmp_path, 2, {**TENSORS, "ema": {"w": torch.zeros(5000)}}, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    outcome = Child(work).wait()
    assert outcome.code == 5
    assert "step-00000002" in outcome.value
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    checkpoints.verify(checkpoints.folder_of(tmp_path, 1))


def test_a_folder_that_failed_leaves_nothing(tmp_path):
    def fails():
        with new_folder(tmp_path / "new") as beside:
            (beside / "part").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert not list(tmp_path.iterdir())


def test_leftovers_of_the_dead_are_swept_and_a_living_writers_are_not(tmp_path):
    dead = Child(lambda: None)
    dead.wait()
    mine = os.getpid()
    living = os.getppid()
    for name in (f".a.{dead.pid}.tmp", f".b.{mine}.tmp", f".c.{living}.tmp", ".d.tmp", "e.1.tmp"):
        (tmp_path / name).write_text("x")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / f".step-00000001.{dead.pid}.tmp").mkdir()
    (tmp_path / "below" / f".step-00000001.{dead.pid}.tmp" / "model.safetensors").write_text("x")
    removed = {path.name for path in sweep(tmp_path)}
    assert removed == {f".a.{dead.pid}.tmp", f".b.{mine}.tmp", f".step-00000001.{dead.pid}.tmp"}
    assert {path.name for path in tmp_path.rglob("*")} == {f".c.{living}.tmp", ".d.tmp", "e.1.tmp", "below"}


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, piece: real(handle, piece[:7]))
    write_flushed(tmp_path / "file", [bytes(range(100)), memoryview(b"end")])
    assert (tmp_path / "file").read_bytes() == bytes(range(100)) + b"end"


def test_the_library_reads_what_a_checkpoint_holds(tmp_path):
    path = save(tmp_path, 7)
    for file, tensors in TENSORS.items():
        found = load_file(path / f"{file}.safetensors")
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 0.75, 0.999])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimiser.safetensors", "state.json", "manifest.json"]
)
def test_damage_anywhere_is_found_and_the_one_before_is_used(tmp_path, part, damage, file):
    save(tmp_path, 1)
    hurt = save(tmp_path, 2) / file
    content = bytearray(hurt.read_bytes())
    at = min(int(part * len(content)), len(content) - 3)
    if damage == "flip":
        content[at] ^= 0xFF
        hurt.write_bytes(content)
    elif damage == "cut":
        hurt.write_bytes(content[:at])
    else:
        hurt.unlink()
    path, broken = checkpoints.newest(tmp_path)
    assert path == checkpoints.folder_of(tmp_path, 1)
    assert len(broken) == 1
    assert "step-00000002" in broken[0]


def test_the_newest_goes_by_its_step_not_by_its_date(tmp_path):
    save(tmp_path, 10)
    save(tmp_path, 9)  # written later
    os.utime(checkpoints.folder_of(tmp_path, 10), (1, 1))
    assert checkpoints.newest(tmp_path)[0] == checkpoints.folder_of(tmp_path, 10)


def test_a_state_that_was_set_aside_comes_back_if_the_newer_one_never_came(tmp_path):
    path = save(tmp_path, 5)
    path.rename(tmp_path / ".step-00000005.old")
    assert checkpoints.steps(tmp_path) == []
    checkpoints.recover(tmp_path)
    assert checkpoints.newest(tmp_path)[0] == path
    assert not list(tmp_path.glob(".*"))

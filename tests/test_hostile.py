"""Nothing hostile runs: bundles, checkpoints, recipes and prediction files never import or execute what they name.

Every file is read the way a user reads it, under an audit hook that hears what Python does: processes,
sockets, unpickling, compiling, new imports, writing elsewhere. A benign file has gone the same way before,
so that what is heard is the hostile file's doing.
"""

import functools
import hashlib
import importlib
import io
import json
import os
import pickle
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of

import mudra
from mudra import recipe as recipes
from mudra.errors import DataError, ModelError, MudraError, RecipeError
from mudra.predictions import read as read_predictions
from mudra.training import checkpoints
from mudra.training.judging import evaluate
from mudra.training.run_folder import RunFolder
from mudra.training.train import train
from tests.tiny import tiny_recipe, write_bars

pytestmark = pytest.mark.timeout(20, func_only=True)  # bounded time: the slowest takes one second

MEMORY = 200 * 2**20  # bytes that reading a hostile file may cost
RECIPE = tiny_recipe(train={"epochs": 1, "keep": 1})
CHECKPOINT = "checkpoints/step-00000001"
CODES = {ModelError: 3, DataError: 3, RecipeError: 2}


# --- the watch --------------------------------------------------------------------------------

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = re.compile(
    r"os\.(system|exec|posix_spawn|spawn|fork|startfile)|subprocess\.|socket\.(connect|bind|sendto|getaddrinfo)|pickle\.|marshal\.|"
    r"ctypes\.dlopen|exec$"
)


class Watch:
    """Hears what Python does while a block runs. A hook stays for good, so there is one, deaf outside of blocks."""

    def __init__(self) -> None:
        self.home = ""
        self.heard: list[str] = []
        sys.addaudithook(self._hear)

    @contextmanager
    def over(self, home: Path) -> Iterator[list[str]]:
        """Yield the list to which forbidden events of the block are added; files may be written in `home`."""
        before = set(sys.modules)
        self.heard, self.home = [], os.path.realpath(home)
        try:
            yield self.heard
        finally:
            self.home = ""
            # `importlib.import_module` raises no event
            self.heard += [f"import {name}" for name in sorted(sys.modules.keys() - before)]

    def _hear(self, event: str, values: tuple[Any, ...]) -> None:
        if not self.home:
            return
        if event == "import" and values[0] not in sys.modules:
            self.heard.append(f"import {values[0]}")
        elif event == "open" and isinstance(values[0], (str, bytes)) and values[2] & WRITES:
            place = os.path.realpath(os.fsdecode(values[0]))
            if not place.startswith(self.home + os.sep):
                self.heard.append(f"open {place}")
        elif FORBIDDEN.match(event):
            self.heard.append(event)


@functools.cache
def the_watch() -> Watch:
    return Watch()


# --- a run to spoil, and the ways in which it is read -----------------------------------------


@dataclass(frozen=True)
class Home:
    """A folder of one test: a trained run in it to spoil, and a module `canary` that tells when it is imported."""

    path: Path
    data: Path

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.path / "run")

    def file(self, name: str) -> Path:
        return self.run.path / name

    def spoil(self, name: str, old: bytes, new: bytes) -> Path:
        """Put `new` in the place of `old` in a file of the run; an empty `old` is the whole file."""
        file = self.file(name)
        content = file.read_bytes()
        assert old in content
        file.write_bytes(content.replace(old, new, 1) if old else new)
        return file

    def seal(self) -> None:
        """Give the checkpoint a manifest that fits what lies there: whoever can write files can hash them."""
        listed = {
            file.name: {
                "bytes": file.stat().st_size,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            }
            for file in self.file(CHECKPOINT).iterdir()
            if file.name != "manifest.json"
        }
        self.file(f"{CHECKPOINT}/manifest.json").write_text(json.dumps(listed))


def quiet(_line: str) -> None:
    pass


def load_it(home: Home) -> object:
    return mudra.load(home.run.path, device="cpu")


def judge_last(home: Home) -> object:
    return evaluate(home.run, str(home.data), "test", checkpoint="last", say=quiet)


def judge_best(home: Home) -> object:
    return evaluate(home.run, str(home.data), "test", checkpoint="best", say=quiet)


def resume(home: Home) -> object:
    return train(RECIPE, str(home.data), home.run.path, resume=True, say=quiet)


def read_newest(home: Home) -> object:
    return checkpoints.read(checkpoints.newest(home.run.checkpoints)[0])


def read_recipe(home: Home) -> object:
    return recipes.load(home.path / "mine.yaml")


def read_table(home: Home) -> object:
    return read_predictions(home.file("predictions/test.parquet"))


WAYS = (load_it, judge_last, judge_best, resume, read_newest, read_recipe, read_table)
named = {"ids": lambda way: way.__name__}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A run with one checkpoint, cut before its end. All ways of reading it have been gone once."""
    path = tmp_path_factory.mktemp("hostile")
    data = write_bars(path / "data", {"train": 8, "val": 2, "test": 2})
    home = Home(path, data)
    train(RECIPE, str(data), home.run.path, say=quiet)
    home.run.status("failed", 1)
    for unread in ("tensorboard", "metrics"):
        shutil.rmtree(home.file(unread))
    shutil.copytree(home.run.path, path / "kept")
    (path / "mine.yaml").write_text("extends: folder-timesformer\n")
    for way in WAYS:
        way(home)
    shutil.rmtree(home.run.path)
    (path / "kept").rename(home.run.path)
    return home


@pytest.fixture
def home(trained: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    shutil.copytree(trained.run.path, tmp_path / "run")
    (tmp_path / "mine.yaml").write_text("extends: folder-timesformer\n")
    (tmp_path / "canary.py").write_text("open('ran', 'w').close()\nclass Canary: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield Home(tmp_path, trained.data)
    sys.modules.pop("canary", None)


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def nothing_ran(home: Home, heard: list[str]) -> None:
    assert heard == []
    assert not (home.path / "ran").exists()
    assert "canary" not in sys.modules


def refused(home: Home, way: Callable[[Home], object], error: type[MudraError], name: str) -> str:
    """Go this way, which must end in one line that names the file, without anything having run."""
    before = peak()
    with pytest.raises(MudraError) as caught, the_watch().over(home.path) as heard:
        way(home)
    said = str(caught.value)
    nothing_ran(home, heard)
    assert type(caught.value) is error
    assert caught.value.exit_code == CODES[error]
    assert name in said
    assert "\n" not in said
    assert peak() - before < MEMORY
    return said


# --- the watch is not blind, and what is benign passes ----------------------------------------


class Bait:
    """Unpickling it runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo > ran",)


class Lure:
    """Unpickling it imports a module."""

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ("canary",)


def torch_zip() -> bytes:
    out = io.BytesIO()
    torch.save({"weight": Bait()}, out)
    return out.getvalue()


def archive(content: bytes, name: str = "archive/data.pkl") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(name, content)
    return out.getvalue()


def bind() -> None:
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))


PICKLE = pickle.dumps(Bait())
ACTS: dict[str, tuple[Callable[[], object], str]] = {
    "unpickling": (lambda: pickle.loads(PICKLE), "pickle.find_class"),
    "a command": (lambda: os.system("echo > ran"), "os.system"),
    "torch.load": (lambda: torch.load(io.BytesIO(torch_zip()), weights_only=False), "os.system"),
    "an import": (lambda: importlib.import_module("canary"), "import canary"),
    "a lure": (lambda: pickle.loads(pickle.dumps(Lure())), "import canary"),
    "a process": (lambda: subprocess.run(["touch", "ran"], check=True), "subprocess.Popen"),
    "a socket": (bind, "socket.bind"),
    "code": (lambda: exec("1"), "exec"),
    "a file elsewhere": (lambda: open(os.devnull, "w").close(), f"open {os.devnull}"),
}


@pytest.mark.parametrize("act", ACTS)
def test_the_watch_hears_what_it_must(home: Home, act: str) -> None:
    action, event = ACTS[act]
    with the_watch().over(home.path) as heard:
        action()
    assert event in heard
    with pytest.raises(AssertionError):
        nothing_ran(home, heard)


@pytest.mark.parametrize("way", WAYS, **named)
def test_what_is_benign_is_read_without_a_sound(home: Home, way: Callable[[Home], object]) -> None:
    with the_watch().over(home.path) as heard:
        way(home)
    nothing_ran(home, heard)


# --- weights ----------------------------------------------------------------------------------


def unpack(whole: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and body of a safetensors file."""
    length = int.from_bytes(whole[:8], "little")
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def pack(header: dict[str, Any] | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def shifted(whole: bytes, by: int) -> bytes:
    """All tensors but the first lie so many bytes further on."""
    header, body = unpack(whole)
    tensors = [info for name, info in header.items() if name != "__metadata__"]
    for info in sorted(tensors, key=lambda info: info["data_offsets"])[1:]:
        info["data_offsets"] = [at + by for at in info["data_offsets"]]
    return pack(header, body + bytes(by) if by > 0 else body[:by])


def twice(whole: bytes) -> bytes:
    """The first tensor stands in the header a second time: of two such, one reader takes this, another that."""
    header, body = unpack(whole)
    name = next(name for name in header if name != "__metadata__")
    again = json.dumps({name: header[name]})
    return pack(json.dumps(header)[:-1].encode() + b", " + again[1:].encode(), body)


def crowded(whole: bytes) -> bytes:
    header, body = unpack(whole)
    end = [len(body), len(body)]
    return pack(
        header | {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": end} for n in range(100_000)}, body
    )


def first_as(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[bytes], bytes]:
    """Another tensor in the place of the first by name."""

    def changed(whole: bytes) -> bytes:
        tensors = tensors_of(whole)
        name = min(tensors)
        return bytes_of({**tensors, name: change(tensors[name])})

    return changed


def renamed(whole: bytes) -> bytes:
    tensors = tensors_of(whole)
    tensors["os.system\n('echo > ran')"] = tensors.pop(min(tensors))
    return bytes_of(tensors)


WEIGHTS: dict[str, Callable[[bytes], bytes]] = {
    "a pickle": lambda _: PICKLE,
    "a pickle that imports": lambda _: pickle.dumps(Lure()),
    "a file of torch.save": lambda _: torch_zip(),
    "a 7z archive": lambda _: b"7z\xbc\xaf\x27\x1c" + PICKLE,
    "an archive in an archive": lambda _: archive(archive(PICKLE), "model.pt"),
    "a pickle behind whole tensors": lambda whole: whole + PICKLE,
    "nothing": lambda _: b"",
    "a header of 2**63 bytes": lambda _: struct.pack("<Q", 2**63) + b"{}",
    "a header of 99 MB that is not there": lambda _: struct.pack("<Q", 99_000_000) + b"{}",
    "a header of brackets": lambda _: pack(b"[" * 100_000),
    "a header with a number of 5000 digits": lambda _: pack(b'{"a": ' + b"9" * 5000 + b"}"),
    "tensors that overlap": lambda whole: shifted(whole, -4),
    "tensors with holes between": lambda whole: shifted(whole, 8),
    "a name that stands twice": twice,
    "100,000 tensors": crowded,
    "a file cut short": lambda whole: whole[:-7],
    "a name of two lines": renamed,
    "NaN": first_as(lambda x: torch.full_like(x, torch.nan)),
    "infinity": first_as(lambda x: torch.full_like(x, torch.inf)),
    "a number that is infinite as float32": first_as(
        lambda x: torch.full_like(x, 1e300, dtype=torch.float64)
    ),
    "complex NaN": first_as(lambda x: torch.full_like(x, complex("nan"), dtype=torch.complex64)),
    "another shape": first_as(lambda x: torch.zeros(2, *x.shape)),
}
PLACES: dict[str, tuple[Callable[[Home], object], str]] = {
    "bundle": (load_it, "bundle/model.safetensors"),
    "checkpoint": (judge_last, f"{CHECKPOINT}/model.safetensors"),
    "optimiser": (resume, f"{CHECKPOINT}/optimiser.safetensors"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_are_plain_tensors_or_refused(home: Home, case: str, place: str) -> None:
    way, name = PLACES[place]
    file = home.file(name)
    file.write_bytes(WEIGHTS[case](file.read_bytes()))
    home.seal()
    refused(home, way, ModelError, str(file))


# --- configs ----------------------------------------------------------------------------------

KIND = b'"kind": "timesformer"'
FPS = b'"fps": 10.0'
CLASSES = b'[\n      "to the left",\n      "to the right"\n    ]'
DEEP = b"[" * 100_000
DIGITS = b"9" * 5000
CONFIGS: dict[str, tuple[bytes, bytes]] = {
    "a function as the kind": (KIND, b'"kind": "os:system"'),
    "a class as the kind": (KIND, b'"kind": "canary:Canary"'),
    "a dotted class as the kind": (KIND, b'"kind": "canary.Canary"'),
    "a list as the kind": (KIND, b'"kind": ["timesformer"]'),
    "a kind of data as the kind": (KIND, b'"kind": "folder"'),
    "a class_path beside the kind": (KIND, KIND + b', "class_path": "canary.Canary"'),
    "an _instantiator beside the kind": (KIND, KIND + b', "_instantiator": "os.system"'),
    "a _target_ in the clip": (b'"frames": 4', b'"frames": 4, "_target_": "canary.Canary"'),
    "a kind that stands twice": (KIND, KIND + b', "kind": "timesformer"'),
    "an unknown key of two lines": (KIND, KIND + b', "a\\nb": 1'),
    "settings that contradict each other": (b'"heads": 2', b'"heads": 3'),
    "a model beyond this machine": (b'"width": 16', b'"width": 100000'),
    "a model beyond all machines": (b'"width": 16', b'"width": 1000000000000'),
    "deep brackets": (b"", DEEP),
    "deep brackets inside": (KIND, b'"kind": ' + DEEP),
    "5000 digits": (b'"width": 16', b'"width": ' + DIGITS),
    "NaN as the rate": (FPS, b'"fps": NaN'),
    "a rate beyond all numbers": (FPS, b'"fps": 1e999'),
    "a rate that is text": (FPS, b'"fps": "os.system"'),
    "infinity as the mean": (b"0.485", b"Infinity"),
    "an unknown kind of stream": (b'"kind": "video"', b'"kind": "canary:Canary"'),
    "classes that are text": (CLASSES, b'"to the left"'),
    "classes that are numbers": (CLASSES, b"[1, 2]"),
    "a class that stands twice": (CLASSES, b'["to the left", "to the left"]'),
    "no classes": (CLASSES, b"[]"),
    "another schema": (b'"schema": 1', b'"schema": "canary"'),
    "a list": (b"", b"[1]"),
    "a pickle": (b"", PICKLE),
    "nothing": (b"", b""),
    "more than anybody reads": (b"", b" " * (9 * 2**20)),
}


@pytest.mark.parametrize("way", [load_it, judge_last], **named)
@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_names_a_known_kind_and_plain_values_or_is_refused(
    home: Home, case: str, way: Callable[[Home], object]
) -> None:
    refused(home, way, ModelError, str(home.spoil("bundle/config.json", *CONFIGS[case])))


def test_a_config_that_is_a_pipe_is_not_waited_for(home: Home) -> None:
    file = home.file("bundle/config.json")
    file.unlink()
    os.mkfifo(file)
    refused(home, load_it, ModelError, str(file))


def test_what_looks_like_code_in_a_name_is_a_name(home: Home) -> None:
    home.spoil("bundle/config.json", b'"name": "tiny"', b'"name": "__import__(\'canary\') $(echo > ran)"')
    home.spoil("bundle/config.json", b'"to the left"', b'"{0.__class__} !!python/name:os.system"')
    with the_watch().over(home.path) as heard:
        recognizer = mudra.load(home.run.path, device="cpu")
        answer = recognizer.predict(home.data / "test-000.npy")
    nothing_ran(home, heard)
    assert "{0.__class__} !!python/name:os.system" in {ranked.name for ranked in answer.top(2)}


# --- checkpoints ------------------------------------------------------------------------------


def outside(home: Home) -> str:
    """A file outside the checkpoint, as a manifest's entry that fits it."""
    secret = home.path / "secret.json"
    secret.write_text("{}")
    return f'{{"bytes": 2, "sha256": "{hashlib.sha256(b"{}").hexdigest()}"}}'


def listing(name: str) -> Callable[[Home], None]:
    """The manifest names one more file."""

    def plant(home: Home) -> None:
        entry = outside(home)
        more = f"{{{json.dumps(name.format(home=home.path))}: {entry},"
        home.spoil(f"{CHECKPOINT}/manifest.json", b"{", more.encode())

    return plant


def manifest_of(content: bytes) -> Callable[[Home], None]:
    def plant(home: Home) -> None:
        home.spoil(f"{CHECKPOINT}/manifest.json", b"", content)

    return plant


def leading_elsewhere(home: Home) -> None:
    """A file of the checkpoint is a link to one of equal content."""
    file = home.file(f"{CHECKPOINT}/model.safetensors")
    file.rename(home.path / "elsewhere.safetensors")
    file.symlink_to(home.path / "elsewhere.safetensors")


def unlisted(home: Home) -> None:
    """Averaged weights that the manifest does not name lie beside the others."""
    shutil.copy(home.file(f"{CHECKPOINT}/model.safetensors"), home.file(f"{CHECKPOINT}/ema.safetensors"))


MANIFESTS: dict[str, Callable[[Home], None]] = {
    "a file further up": listing("../../../secret.json"),
    "a file by its full path": listing("{home}/secret.json"),
    "a file of no known kind": listing("hook.py"),
    "a name of two lines": listing("a\nb.json"),
    "a name too long for a file": listing("a" * 300 + ".json"),
    "a name with NUL": listing("a\0.json"),
    "the folder itself": listing("."),
    "no name": listing(""),
    "a list of names": manifest_of(b'["model.safetensors", "optimiser.safetensors", "state.json"]'),
    "text": manifest_of(b'"model.safetensors optimiser.safetensors state.json"'),
    "names without hashes": manifest_of(
        b'{"model.safetensors": 1, "optimiser.safetensors": null, "state.json": []}'
    ),
    "deep brackets": manifest_of(DEEP),
    "5000 digits": manifest_of(DIGITS),
    "a pickle": manifest_of(PICKLE),
    "nothing": manifest_of(b""),
    "a link that leads elsewhere": leading_elsewhere,
    "weights that are not listed": unlisted,
}


@pytest.mark.parametrize("way", [read_newest, judge_last, resume], **named)
@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_names_what_lies_beside_it_or_the_checkpoint_is_refused(
    home: Home, case: str, way: Callable[[Home], object]
) -> None:
    MANIFESTS[case](home)
    refused(home, way, ModelError, str(home.file(CHECKPOINT)))


STEP = b'"step": 1'
STATES: dict[str, tuple[bytes, bytes]] = {
    "5000 digits": (STEP, b'"step": ' + DIGITS),
    "NaN": (b'"best_score": ', b'"best_score": NaN, "was": '),
    "a number beyond all numbers": (b'"waited": 0', b'"waited": 1e999'),
    "a step that is text": (STEP, b'"step": "canary:Canary"'),
    "a step that stands twice": (STEP, STEP + b", " + STEP),
    "no step": (STEP, b'"stop": 1'),
    "no best step": (b'"best_step"', b'"worst_step"'),
    "no counters": (b'"counters"', b'"canaries"'),
    "a schedule that is text": (b'"schedule": {}', b'"schedule": "os.system"'),
    "a scaler of objects": (b'"scaler": {}', b'"scaler": {"scale": {"_target_": "canary.Canary"}}'),
    "facts that are a list": (b'"facts": {', b'"facts": [], "facts of old": {'),
    "deep brackets": (b"", DEEP),
    "a list": (b"", b"[]"),
    "a pickle": (b"", PICKLE),
}


@pytest.mark.parametrize("way", [read_newest, judge_best, resume], **named)
@pytest.mark.parametrize("case", STATES)
def test_a_state_holds_plain_numbers_or_is_refused(
    home: Home, case: str, way: Callable[[Home], object]
) -> None:
    file = home.spoil(f"{CHECKPOINT}/state.json", *STATES[case])
    home.seal()
    refused(home, way, ModelError, str(file))


STATUSES = {
    "deep brackets": DEEP,
    "5000 digits": DIGITS,
    "a list": b"[]",
    "NaN": b'{"step": NaN}',
    "a step that is text": b'{"step": "os.system"}',
    "a pickle": PICKLE,
}


@pytest.mark.parametrize("case", STATUSES)
def test_a_status_is_plain_or_refused(home: Home, case: str) -> None:
    refused(home, resume, DataError, str(home.spoil("status.json", b"", STATUSES[case])))


@pytest.mark.parametrize("case", ["deep brackets", "5000 digits", "a list", "NaN", "a pickle"])
def test_an_environment_that_is_not_plain_is_taken_as_missing(home: Home, case: str) -> None:
    home.spoil("environment.json", b"", STATUSES[case])
    with the_watch().over(home.path) as heard:
        assert home.run.read_environment() == {}
    nothing_ran(home, heard)


# --- recipes ----------------------------------------------------------------------------------

MODEL = "model: {kind: timesformer}\n"
BOMB = "x0: &x0 [ha, ha]\n" + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 6))
INDENTED = "optim:\n  " + BOMB.replace("\n", "\n  ").rstrip(" ")
RECIPES: dict[str, str | bytes] = {
    "a tag that calls": "model: !!python/object/apply:os.system ['echo > ran']\n",
    "a tag that names": MODEL + "optim: {lr: !!python/name:canary.Canary }\n",
    "a tag that imports": MODEL + "optim: {lr: !!python/module:canary }\n",
    "a tag by another prefix": "%TAG ! tag:yaml.org,2002:python/\n---\nmodel: !object/apply:os.system [x]\n",
    "a tag between apostrophes": f"a: it's\nb: !!python/object/apply:os.system ['echo > ran']\nc: it's\n{MODEL}",
    "an alias bomb": MODEL + BOMB,
    "an alias bomb between apostrophes": f"data: {{tasks: [it's]}}\n{INDENTED}loss: {{c: it's}}\n{MODEL}",
    "an anchor behind a hash": "optim: {lr#: &a [1]}\n" + MODEL,
    "a dotted class as the kind": "model: {kind: canary.Canary}\n",
    "a class as the kind": "model: {kind: 'canary:Canary'}\n",
    "a function as the kind": "model: {kind: 'os:system'}\n",
    "a class as the data's kind": MODEL + "data: {kind: 'canary:Canary'}\n",
    "a class as the schedule's kind": MODEL + "schedule: {kind: canary}\n",
    "a class_path": "model: {kind: timesformer, class_path: canary.Canary}\n",
    "a class in a stage": MODEL + "stages: [{model: {kind: 'canary:Canary'}}]\n",
    "a stage without words": MODEL + "stages: [{7: 3}]\n",
    "a base further up": "extends: ../../canary\n" + MODEL,
    "a base that is code": "extends: {home}/canary.py\n" + MODEL,
    "a base of hostile YAML": "extends: {home}/base.yaml\n" + MODEL,
    "a base that is a pipe": "extends: {home}/pipe.yaml\n" + MODEL,
    "a base with NUL in its name": 'extends: "a\\0.yaml"\n' + MODEL,
    "a base with two lines in its name": 'extends: "a\\nb.yaml"\n' + MODEL,
    "a key that is a list": MODEL + "optim: {[1, 2]: 3}\n",
    "a key that is a date": MODEL + "optim: {2001-01-01: 3}\n",
    "a key of two lines": MODEL + 'optim: {"a\\nb": 3}\n',
    "5000 digits": MODEL + "train: {seed: " + "9" * 5000 + "}\n",
    "a hundred thousand hexadecimal digits": MODEL + "train: {seed: 0x" + "f" * 100_000 + "}\n",
    "deep brackets": MODEL + "optim: {lr: " + "[" * 100_000 + "}\n",
    "deep sections": MODEL + "optim: " + "{a: " * 900 + "1" + "}" * 900 + "\n",
    "two documents": MODEL + "---\n" + MODEL,
    "half a character": MODEL + 'optim: {lr: "\\ud800"}\n',
    "a pickle": PICKLE,
    "an archive": archive(PICKLE),
}
NAMED = {"a base of hostile YAML": "base.yaml", "a class in a stage": "recipe mine, stages[0]"}


@pytest.mark.parametrize("case", RECIPES)
def test_a_recipe_is_plain_values_or_refused(home: Home, case: str) -> None:
    content = RECIPES[case]
    (home.path / "base.yaml").write_text(str(RECIPES["a tag that calls"]))
    os.mkfifo(home.path / "pipe.yaml")
    if isinstance(content, str):
        content = content.replace("{home}", str(home.path)).encode()
    (home.path / "mine.yaml").write_bytes(content)
    said = refused(home, read_recipe, RecipeError, NAMED.get(case, str(home.path / "mine.yaml")))
    if case.startswith(("a tag", "an a")) and case != "an archive":  # refused before anything is made of it
        assert "found a YAML tag, anchor or alias" in said


@pytest.mark.parametrize("way", [judge_last, resume], **named)
@pytest.mark.parametrize(
    "case", ["a tag that calls", "an alias bomb", "a class as the kind", "deep brackets"]
)
def test_the_recipe_of_a_run_is_plain_values_or_refused(
    home: Home, case: str, way: Callable[[Home], object]
) -> None:
    content = RECIPES[case]
    assert isinstance(content, str)
    refused(home, way, RecipeError, str(home.spoil("recipe.yaml", b"", content.encode())))


@pytest.mark.parametrize("way", [judge_last, resume], **named)
def test_the_recipe_of_a_run_is_text_or_refused(home: Home, way: Callable[[Home], object]) -> None:
    refused(home, way, ModelError, str(home.spoil("recipe.yaml", b"", PICKLE)))


# --- prediction files -------------------------------------------------------------------------


def with_metadata(**more: bytes | str) -> Callable[[pa.Table], pa.Table]:
    told = {name.encode(): content for name, content in more.items()}
    return lambda table: table.replace_schema_metadata({**table.schema.metadata, **told})


def with_column(
    name: str, change: Callable[[pa.ChunkedArray], Any], field: str = ""
) -> Callable[..., pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        return table.set_column(at, field or name, change(table.column(at)))

    return changed


def extension(name: bytes, metadata: bytes) -> Callable[[pa.Table], pa.Table]:
    """The clips' column claims to be of a type that Python code defines."""

    def changed(table: pa.Table) -> pa.Table:
        told = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": metadata}
        return table.set_column(0, table.schema.field(0).with_metadata(told), table.column(0))

    return changed


def scores_with(value: float) -> Callable[[pa.Table], pa.Table]:
    def change(column: pa.ChunkedArray) -> pa.Array:
        rows = np.array(column.to_pylist(), dtype=np.float32)
        rows[0, 0] = value
        return pa.array(rows.tolist(), pa.list_(pa.float32(), 2))

    return with_column("label.log_probabilities", change)


def renamed_task(table: pa.Table) -> pa.Table:
    """A task of two lines, with a score that is not what a score is."""
    metadata = {key: value.replace(b'"label"', b'"la\\nbel"') for key, value in table.schema.metadata.items()}
    table = table.rename_columns([name.replace("label", "la\nbel") for name in table.column_names])
    table = table.replace_schema_metadata(metadata)
    return with_column("la\nbel.truth", lambda column: pa.array(range(len(column))))(table)


PANDAS = json.dumps(
    {
        "index_columns": [{"kind": "canary:Canary", "name": None}],
        "columns": [
            {
                "name": "clip",
                "pandas_type": "object",
                "numpy_type": "object",
                "metadata": {"pickle": PICKLE.hex(), "class": "canary.Canary"},
            }
        ],
        "creator": {"library": "canary", "version": "1"},
    }
)
IGNORED: dict[str, Callable[[pa.Table], pa.Table]] = {
    "pandas' own": with_metadata(pandas=PANDAS),
    "a pickle": with_metadata(pickle=PICKLE, __reduce__=PICKLE),
}
TYPES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "a pickled type": extension(b"arrow.py_extension_type", PICKLE),
    "a type that names a class": extension(b"canary.Canary", b"canary:Canary"),
    "a type of pandas": extension(b"pandas.period", b'{"freq": "__import__(\'canary\')"}'),
}
TABLES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "a type of arrow's": extension(b"arrow.json", b""),
    "deep brackets for classes": with_metadata(classes=DEEP),
    "5000 digits for hashes": with_metadata(sha256=DIGITS),
    "a pickle for classes": with_metadata(classes=PICKLE),
    "a pickle for the schema": with_metadata(schema=PICKLE),
    "permuted class names": with_metadata(classes='{"label": ["to the right", "to the left"]}'),
    "permuted columns": lambda table: table.select(table.column_names[::-1]),
    "a column of objects": with_column("clip", lambda column: pa.array([PICKLE] * len(column))),
    "a column of two lines": with_column("clip", lambda column: column, "cl\nip"),
    "a type of two lines": with_column("clip", lambda column: pa.array([{"a\nb": 1}] * len(column))),
    "a task of two lines": renamed_task,
    "NaN": scores_with(float("nan")),
    "a row that does not sum to one": scores_with(0.0),
    "logits": scores_with(1e30),
}


def rewrite(home: Home, change: Callable[[pa.Table], pa.Table]) -> Path:
    file = home.file("predictions/test.parquet")
    pq.write_table(change(pq.read_table(file)), file)
    return file


@pytest.mark.parametrize("case", TABLES)
def test_a_prediction_file_is_plain_scores_or_refused(home: Home, case: str) -> None:
    refused(home, read_table, DataError, str(rewrite(home, TABLES[case])))


@pytest.mark.parametrize(
    "content", [PICKLE, torch_zip(), b"PAR1" + PICKLE + b"PAR1"], ids=["pickle", "zip", "PAR1"]
)
def test_what_is_called_a_prediction_file_and_is_none_is_refused(home: Home, content: bytes) -> None:
    refused(home, read_table, DataError, str(home.spoil("predictions/test.parquet", b"", content)))


@pytest.mark.parametrize("case", IGNORED | TYPES)
def test_what_a_prediction_file_says_of_other_programs_is_not_believed(home: Home, case: str) -> None:
    file = home.file("predictions/test.parquet")
    before, schema = read_predictions(file), pq.read_schema(file)
    rewrite(home, (IGNORED | TYPES)[case])
    assert not pq.read_schema(file).equals(schema, check_metadata=True)
    with the_watch().over(home.path) as heard:
        after = read_predictions(file)
    nothing_ran(home, heard)
    assert after.clips == before.clips
    assert np.array_equal(after.tasks["label"].log_probabilities, before.tasks["label"].log_probabilities)

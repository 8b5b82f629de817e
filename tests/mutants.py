"""Does a test notice when a promise is broken? Each mutant sabotages one; a test must fail with it.

    python tests/mutants.py                     # all, one after the other; exit code 1 if one is missed
    python tests/mutants.py --only resume       # those whose promise contains a word
    python tests/mutants.py --list

The sabotage is done in a copy of src; nothing of the project is touched. A mutant whose text is no longer
in the source is an error, so the list cannot rot.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mutant:
    """A promise, the sabotage that breaks it, and the tests that must notice."""

    promise: str
    file: str
    before: str
    after: str
    tests: str
    only: str = ""


STOPS, FILES, RANKS, TRAINING = (
    "tests/test_stops.py", "tests/test_files.py", "tests/test_ranks.py", "tests/test_training.py",
)  # fmt: skip
SERIES, STREAMS = "tests/test_series.py", "tests/test_streams.py"
POINTS, KEYPOINTS = "tests/test_points.py", "models/keypoint_transformer.py"
EMBEDDING, HIERARCHY = "models/part_embedding.py", "tests/test_keypoint_hierarchy.py"
LAYERS = "models/layers.py"
SWEEPS, SLURM = "tests/test_sweeps.py", "tests/test_slurm.py"
SHOW = "tests/test_show.py"
PREPARED, ALTERED = "tests/test_point_preparation.py", "tests/test_point_augment.py"
LANDMARKS = "tests/test_landmarks.py"
OWN_LAYOUTS, SLOVO = "tests/test_own_layouts.py", "tests/test_slovo.py"
LOOP, STEP = "training/loop.py", "training/step.py"
LOSSES, TERMS = "tests/test_loss_terms.py", "training/terms.py"
SAVED, TEAM = "training/checkpoints.py", "training/ranks.py"

EPIC, EPICS, SHELF, SHELVES = (
    "datasets/epic100.py", "tests/test_epic100.py", "sources/shelf.py", "tests/test_shelf.py",
)  # fmt: skip
DECODING = "sources/decoding.py"
COMPARED = "tests/test_comparison.py"
RECORDS, SORTING, MONTALBANO = (
    "sources/tfrecord.py", "datasets/montalbano_sorting.py", "tests/test_montalbano.py",
)  # fmt: skip
SUBMISSION, SUBMISSIONS = "predictions/submissions/epic.py", "tests/test_submissions.py"
ENSEMBLE, ENSEMBLES = "predictions/ensemble.py", "tests/test_ensemble.py"
JOINING, CALIBRATIONS = "training/ensembling.py", "tests/test_calibration.py"

FRAMES, FREEZING, NORMS = "tests/test_frames.py", "tests/test_freezing.py", "training/batch_norm.py"

PROBING, PROBES = "training/probing.py", "tests/test_probing.py"
C3D, VIDEOS, VIDEO_TESTS = "models/c3d.py", "models/videos.py", "tests/test_videos.py"


MUTANTS = [
    # frame models, freezing, batch norm
    Mutant("frozen: batch norms go on counting", "models/freezing.py",
           "            self.get_submodule(name).eval()", "            pass", f"{FREEZING} {FRAMES}", "frozen"),
    Mutant("frozen: the first stage alone", "models/frames.py",
           "stage < self.settings.frozen_stages}", "stage < 1}", FRAMES, "stages_are_frozen"),
    Mutant("processes: each has a batch norm of its own", "training/step.py",
           "            share_batch_norm(self.seen)", "            pass", FREEZING, "number_of_processes"),
    Mutant("processes: a stand-in counts in batch norm", NORMS,
           "own = x if counts else x[:0]", "own = x", FREEZING, "number_of_processes or without_a_clip"),
    Mutant("processes: batch norm's slopes stay at home", NORMS,
           "            dist.all_reduce(told)", "            pass", FREEZING, "number_of_processes"),
    Mutant("windows: only the first frames", "models/temporal.py",
           ".clamp(0, max(frames - window, 0))[:, None]", ".clamp(0, 0)[:, None]", FRAMES, "windows_slide"),
    Mutant("tasks: the second looks at what the first became", "models/cross_task.py",
           "others = torch.cat([x_BTD for other, x_BTD in enumerate(before) if other != task], 1)",
           "others = torch.cat([x_BTD for other, x_BTD in enumerate(after) if other != task], 1)",
           FRAMES, "same_moment"),
    Mutant("resume: the first writes while the others read", "training/train.py",
           "        team.gather(None)  # all have read", "        pass  # all have read", "tests/test_ranks.py",
           "another_still_reads"),
    Mutant("puppets: two processes draw the same", "datasets/puppets/writing.py",
           "        take_lock(handle, wait=True)\n", "        pass\n", "tests/test_puppets.py", "one_draws"),
    Mutant("lstm: it replaces what it looks at", "models/temporal.py",
           "return x_BTD + self.dropout(y_BTD)", "return self.dropout(y_BTD)", FRAMES, "lstm_is_added"),
    Mutant("layers start loud", "models/blocks.py",
           ".mul_(0.1)", ".mul_(1.0)", FRAMES, "start_quiet"),
    Mutant("frames: quiet features stay quiet", "models/frames.py",
           "x_BTD = self.norm_frames(self.project(x_BTF))", "x_BTD = self.project(x_BTF)", FRAMES, "heard_alike"),
    Mutant("published: a weight that the file lacks is drawn at random", "models/frames.py",
           "        if missing:\n", "        if False:\n", FRAMES, "another_network"),
    # video networks and linear probes
    Mutant("probe: features of other preprocessing are taken for these", PROBING,
           'for key in ("model", "clip", "streams", "tasks")}', 'for key in ("model", "streams", "tasks")}',
           PROBES, "depend"),
    Mutant("probe: other weights find the features of the first", PROBING,
           '"weights": _digest(weights),', '"weights": "",', PROBES, "depend"),
    Mutant("probe: a look is drawn by its place in the fold", PROBING,
           'return Place(number, look, int.from_bytes(hashlib.sha256(name).digest()[:4], "little"))',
           "return Place(number, 0, number)", PROBES, "next_look"),
    Mutant("probe: layers that start anew are probed", "training/train.py",
           "refuse_fresh_layers(anew, init_from)", "pass", PROBES, "fresh_layers"),
    Mutant("video: classifiers of Kinetics are asked for", VIDEOS,
           "if name.partition(\".\")[0] not in CLASSIFIERS}", "}", VIDEO_TESTS, "published"),
    Mutant("video: differences are looked at from the first step", VIDEOS,
           "x = torch.cat([x, torch.zeros_like(x)], 1)", "x = torch.cat([x, x], 1)", VIDEO_TESTS, "differences"),
    Mutant("C3D: a window over the edge is dropped", C3D,
           "pool, ceil_mode=True)", "pool)", "tests/test_c3d.py", "edge or left"),
    Mutant("published weights: what a file holds is run", "models/published.py",
           "weights_only=True", "weights_only=False", "tests/test_c3d.py", "code"),
    # 1, 16-18: checkpoints
    Mutant("kill: written in place, not beside", "files.py",
           'return path.with_name(f".{path.name}.{os.getpid()}.tmp")\n\n\ndef _writes',
           "return path\n\n\ndef _writes", f"{FILES} {STOPS}", "killed or order or flushed"),
    Mutant("kill: a half-written folder gets its name", "files.py",
           "            yield beside\n            for file",
           "            os.replace(beside, path)\n            beside = path\n"
           "            yield beside\n            for file",
           f"{FILES} {STOPS}", "error_at_any or killed"),
    Mutant("power cut: content is not flushed", "files.py",
           "        os.fsync(handle)\n    finally:\n        os.close(handle)\n\n\ndef sweep",
           "        pass\n    finally:\n        os.close(handle)\n\n\ndef sweep", FILES, "flushed"),
    Mutant("power cut: the folder is not flushed", "files.py",
           '    if os.name == "posix":\n        _flush(folder)', "    pass", FILES, "flushed"),
    Mutant("disk full: the old file is emptied first", "files.py",
           "            write_flushed(beside, [content])\n            os.replace(beside, path)",
           "            path.write_bytes(b'')\n            write_flushed(beside, [content])\n"
           "            os.replace(beside, path)", "tests/test_manifest.py", "failed_write"),
    Mutant("disk full: the error of the background is swallowed", "training/saving.py",
           "self._failure = problem", "pass", STOPS, "disk"),
    Mutant("disk full: what was set aside is not brought back", SAVED,
           "    finally:\n        recover(root)", "    finally:\n        pass", FILES, "same_step"),
    Mutant("orphans are left", "files.py", "        removed.append(beside)", "        continue", FILES, "swept"),
    Mutant("a living writer's file is swept", "files.py",
           "    if process == os.getpid():\n        return False\n    try:",
           "    return False\n    try:", FILES, "swept"),
    Mutant("newest: hashes are not compared", SAVED,
           "or _fingerprint(file) != listed[name]", "", FILES, "damage"),
    Mutant("newest: by date", SAVED, "return sorted(int(number) for number in numbers if number.isdecimal())",
           "return sorted((int(n) for n in numbers if n.isdecimal()), "
           "key=lambda n: folder_of(root, n).stat().st_mtime)", FILES, "not_by_its_date"),
    Mutant("newest broken: starts again at step 0 silently", "training/resuming.py",
           "    if not checkpoints.steps(run.checkpoints) and run.read_status().get(\"step\", 0) == 0:",
           "    if not checkpoints.steps(run.checkpoints):", STOPS, "never_starts_again"),
    # 2, 3: resume
    Mutant("resume: the optimiser is forgotten", LOOP,
           "        checkpoints.restore_optimiser(self.stepper.optimiser, self.model, saved.optimiser)\n", "",
           STOPS, "same_bits and interrupted"),
    Mutant("resume: the schedule is forgotten", LOOP,
           '        self.schedule.load_state_dict(saved.state["schedule"])\n', "", STOPS, "same_bits and interrupted"),
    Mutant("resume: the averaged weights are forgotten", LOOP,
           "            self.average.weights = {name: x.to(self.team.device) for name, x in saved.ema.items()}\n", "",
           STOPS, "same_bits and interrupted"),
    Mutant("resume: the average's age is forgotten", LOOP,
           "            self.average.updates = self.counters.updates\n", "", STOPS, "same_bits and interrupted"),
    Mutant("resume: the scaler is forgotten", LOOP,
           '        self.stepper.scaler.load_state_dict(saved.state["scaler"])\n', "", STOPS, "scaler"),
    Mutant("resume: best score and early stopping are forgotten", LOOP,
           'self.counters = Counters(**saved.state["counters"])',
           'self.counters = Counters(**{k: v for k, v in saved.state["counters"].items() '
           'if k in ("step", "judged", "updates")})', STOPS, "same_bits and interrupted"),
    Mutant("resume: begins the epoch again", LOOP,
           "order, epoch, self.settings.batch, self.settings.accumulate, first, self.team.share",
           "order, epoch, self.settings.batch, self.settings.accumulate, 0, self.team.share",
           STOPS, "every_clip or same_bits"),
    Mutant("resume: dropout is drawn from wherever the generator stands", STEP,
           "        seed_step(self.settings.seed, step, self.team.rank)\n", "", STOPS, "same_bits and interrupted"),
    Mutant("resume: a sample depends on who reads it", "clips/loader.py",
           "return np.random.default_rng([self.seed, place.epoch, place.position])", "return np.random.default_rng()",
           TRAINING, "same_seed or workers"),
    Mutant("resume: every epoch draws the same", "clips/loader.py",
           "return np.random.default_rng([self.seed, place.epoch, place.position])",
           "return np.random.default_rng([self.seed, place.position])", TRAINING, "epochs_differ"),
    Mutant("resume: another recipe is taken", "training/resuming.py", "    if changed:\n", "    if False:\n",
           f"{STOPS} {TRAINING}", "other_settings or another_recipe"),
    Mutant("resume: other data is taken", LOOP, "            if before != now:\n", "            if False:\n",
           STOPS, "other_data"),
    Mutant("a validation that was stopped counts as judged", LOOP,
           "            while not self.finished:\n",
           "            self.counters.judged = self.counters.step // self.epoch_steps\n"
           "            while not self.finished:\n", STOPS, "during_validation"),
    # 4, 5: nothing hostile runs
    Mutant("hostile: weights that are no safetensors are unpickled", "files.py",
           "    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as problem:",
           "    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as problem:\n"
           "        import torch\n"
           "        return torch.load(path, weights_only=False)", "tests/test_hostile.py"),
    Mutant("hostile: a kind is imported before it is looked up", "kinds.py",
           "    table = KINDS[section]\n    if not",
           "    table = KINDS[section]\n    try:\n        importlib.import_module(str(kind).partition(':')[0])\n"
           "    except Exception:\n        pass\n    if not", "tests/test_hostile.py"),
    # 6-8: data
    Mutant("leak: groups are split at random", "clips/splits.py",
           "    names, unit_of = np.unique(np.asarray(units, dtype=object), return_inverse=True)\n    if len(names)",
           "    units = [f'{unit} {at}' for at, unit in enumerate(units)]\n"
           "    names, unit_of = np.unique(np.asarray(units, dtype=object), return_inverse=True)\n    if len(names)",
           "tests/test_splits.py", "never_crosses"),
    # 9: not finite
    Mutant("not finite: looked for after the update", STEP,
           "        if not math.isfinite(loss) or not (math.isfinite(norm) or overflowed):",
           "        self.scaler.step(self.optimiser)\n"
           "        if not math.isfinite(loss) or not (math.isfinite(norm) or overflowed):",
           TRAINING, "not_finite"),
    Mutant("not finite: looked for when logging only", STEP,
           "        if not math.isfinite(loss) or not (math.isfinite(norm) or overflowed):",
           "        if step % 10 == 0 and (not math.isfinite(loss) or not (math.isfinite(norm) or overflowed)):",
           TRAINING, "not_finite"),
    # 10: stops
    Mutant("stop: the processes do not agree", LOOP,
           "        if not self.team.any(bool(self.stops.reason)):", "        if not self.stops.reason:",
           RANKS, "stopped_goes_on"),
    Mutant("stop: nothing is saved", LOOP,
           "        except (StoppedError, PrunedError):\n            self.save()\n",
           "        except (StoppedError, PrunedError):\n",
           STOPS, "signal"),
    Mutant("stop: the exit code says success", "errors.py", "    exit_code = 75", "    exit_code = 0", STOPS, "signal"),
    Mutant("stop: status.json is not written", "training/train.py",
           '            run.status("stopped", run.last_step, problem.exit_code, str(problem))\n', "            pass\n",
           STOPS, "signal"),
    Mutant("stop: a restart of the stopped launch goes on", "training/resuming.py",
           '    if state == "stopped" and _again("TORCHELASTIC", run):', "    if False:", RANKS, "own_launch"),
    # 15: undecodable clips
    Mutant("undecodable: evaluation passes over it", "training/evaluation.py",
           "for clip, reason in () if self.tolerant else batch.failures:", "for clip, reason in ():",
           TRAINING, "never_replaced"),
    Mutant("undecodable: any share is tolerated", LOOP,
           "        if self.counters.unreadable > self.settings.decode_failures * looked_at:", "        if False:",
           f"{TRAINING} {RANKS}", "tolerated or undecodable"),
    Mutant("undecodable: not listed", LOOP, "            self.run.list_unreadable(failures)\n", "            pass\n",
           TRAINING, "tolerated_counted"),
    # 19: loader processes
    Mutant("hung loader: waits for ever", "clips/loader.py",
           "self._watch.hung(self._limit) is None:\n", "True:\n", STOPS, "hangs"),
    Mutant("dead loader: the clip is not named", "clips/watch.py",
           "        self.watch.at(place.clip)\n", "", STOPS, "process_that_dies"),
    Mutant("dead loader: one that is still dying is not waited for", "clips/watch.py",
           "if not at_work or time.monotonic() >= end:", "if True:", STOPS, "still_dying"),
    Mutant("hung loader: the process is left behind", "clips/watch.py",
           "                child.kill()\n                child.join()\n", "                pass\n", STOPS, "hangs"),
    # 20, 27-29: many processes
    Mutant("evaluation: padded to whole rounds", "training/evaluation.py",
           "        self.places = places[team.rank :: team.size]\n",
           "        places += places[: -len(places) % team.size]\n"
           "        self.places = places[team.rank :: team.size]\n", RANKS, "counts_every_clip"),
    Mutant("accumulation: means of means", STEP,
           "total = terms.total(weights)", "total = terms.total()", RANKS, "add_up"),
    Mutant("processes: the gradient is a mean, not the sum", STEP,
           "self.scaler.scale(total * self.team.size)", "self.scaler.scale(total)", RANKS, "add_up"),
    Mutant("processes: the loss's weight is each one's own", STEP,
           "{task: self.team.add(weight) for task, weight", "{task: weight for task, weight", RANKS, "add_up"),
    Mutant("processes: partners come from one's own clips", STEP,
           "        if self.team.size == 1:\n            return own\n        shares",
           "        return own\n        shares", RANKS, "add_up"),
    Mutant("processes: one without clips stays away", STEP,
           "        if empty and self.team.size == 1:", "        if empty:", RANKS, "add_up"),
    Mutant("restart: begins anew", "training/train.py",
           "        resume = resume or team.agree(lambda: restarted(run))\n", "", RANKS, "restart_goes_on"),
    Mutant("environment: half of it is taken as none", TEAM, "    if missing:\n", "    if missing:\n"
           "        yield Team(choose_device(wanted))\n        return\n    if missing:\n", RANKS, "half_an"),
    # 40: the lock
    Mutant("two processes share a run", "files.py",
           "            fcntl.lockf(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))\n", "            pass\n",
           STOPS, "share_a_run"),
    # 8, 22-24
    Mutant("labels: numbered by the data at hand", "datasets/opening.py",
           "            numbers[manifest.labels[task] == number] = number_of[old[number]]\n", "            pass\n",
           TRAINING, "label_map"),
    Mutant("two softmaxes", TERMS,
           "    log_p_BC = torch.log_softmax(logits_BC, dim=1, dtype=share_BC.dtype)\n    # a class",
           "    log_p_BC = torch.log_softmax(torch.softmax(logits_BC, 1), dim=1, dtype=share_BC.dtype)\n    # a class",
           "tests/test_losses.py", "perfect_logits"),
    Mutant("loss: a curriculum counts from where the process began", STEP, "step / self.steps,",
           '(step - self.__dict__.setdefault("first", step)) / self.steps,', LOSSES, "curriculum"),
    Mutant("loss: what is learnt from the teacher is a mean of the part", TERMS,
           "return temperature**2 * (weight_B * divergence_B).sum()",
           "return temperature**2 * weight_B.sum() * divergence_B.mean()", LOSSES, "add_up"),
    Mutant("loss: the teacher is drawn to its pupils", TERMS, "teacher_BC.detach()", "teacher_BC", LOSSES,
           "not_drawn"),
    Mutant("loss: the classes of a mixture are rivals", TERMS, " * (share_BC[:, rival_P] == 0)", "", LOSSES,
           "no_rivals"),
    Mutant("loss: focus has no floor", TERMS, ".clamp(min=torch.finfo(log_p_BC.dtype).eps) ** gamma", " ** gamma",
           LOSSES, "entirely_sure"),
    Mutant("loss: heads that nothing trains are passed over", STEP,
           "        self.loss.require_heads(self._heads())\n", "", LOSSES, "before_anything"),
    Mutant("processes: heads of training are not arranged", TEAM,
           "    model.training = True  #", "    #", RANKS, "add_up"),
    Mutant("schedule: peaks do not decay", "training/schedules.py",
           "max(self.decay**number, self.final)", "1.0", "tests/test_schedules.py", "sign_system"),
    Mutant("a flip keeps the class", "clips/loader.py", "        if flip:\n", "        if False:\n",
           f"{TRAINING} {POINTS}", "flip_swaps or with_a_side"),
    # points
    Mutant("points: an absent one is at the origin", EMBEDDING,
           " + absent_BTK.to(known.dtype) @ self.absence", " + 0 * self.absence.sum(0)",
           "tests/test_keypoint_transformer.py", "at_the_origin"),
    Mutant("points: empty frames are attended to", KEYPOINTS, "masked_fill(~seen_BQT, -torch.inf)",
           "masked_fill(~seen_BQT, 0)", "tests/test_keypoint_transformer.py", "empty_frames"),
    Mutant("points: empty frames are counted in the mean", KEYPOINTS,
           "return (x_BTD * there_BT1).sum(1) / there_BT1.sum(1)",
           "return (x_BTD * there_BT1).sum(1) / x_BTD.shape[1]",
           "tests/test_keypoint_transformer.py", "empty_frames"),
    Mutant("points: the convolution sees empty frames", KEYPOINTS, "(x_BTD * there_BT1).transpose",
           "(x_BTD).transpose", "tests/test_keypoint_transformer.py", "empty_frames"),
    Mutant("points: the first frame has a velocity", EMBEDDING,
           "before = torch.full_like(looks[:, :1], torch.nan)", "before = looks[:, :1]",
           "tests/test_keypoint_transformer.py", "empty_frames"),
    Mutant("hierarchy: a window sees everything", KEYPOINTS, "abs() <= window // 2", "abs() <= 10 * window",
           HIERARCHY, "window_is"),
    Mutant("hierarchy: all scales are the mean", KEYPOINTS, "(span_S1 + 1) * count_B11 / scale",
           "count_B11 + 0 * span_S1", HIERARCHY, "scales or spans"),
    Mutant("hierarchy: the second hand looks at what the first became", EMBEDDING,
           "to_other(other_GPE, x_GPE, seen_GP)", "to_other(other_GPE, grown[one], seen_GP)",
           HIERARCHY, "was_before"),
    Mutant("hierarchy: every so-manyth frame is counted from the first of the file", KEYPOINTS,
           "(away_TT % stride == 0)", "(place_T % stride == 0)", HIERARCHY, "padding or sparse"),
    Mutant("hierarchy: a part answers with what the others told it", KEYPOINTS,
           "self.embed.vectors(parts)", "self.embed.vectors(self.embed.crossed(parts))", HIERARCHY, "before_it_saw"),
    Mutant("hierarchy: a batch is cut to its shortest clip", KEYPOINTS,
           "there_BT.any(0).nonzero().amax()", "there_BT.all(0).nonzero().amax()", HIERARCHY, "longest_clip"),
    Mutant("layers: what is dropped inside an MLP is not made up for", LAYERS,
           "linear.weight / (1 - _rounded(rate))", "linear.weight", "tests/test_model_layers.py", "inside_an_mlp"),
    Mutant("layers: all four of a draw are dropped together", LAYERS,
           "-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)",
           "-(-x.numel() // 4), dtype=torch.int64).random_(0, 2**16).mul_(0x0001000100010001)",
           "tests/test_model_layers.py", "neighbours_are"),
    Mutant("layers: values are turned and keys are not", LAYERS,
           "(q, k), v = turned(both, cos, sin).unbind(3), last[:, :, :, 0]",
           "(q, v), k = turned(both, cos, sin).unbind(3), last[:, :, :, 0]",
           "tests/test_model_layers.py", "never_values"),
    Mutant("hierarchy: an unseen part is a mean of nothing", EMBEDDING,
           "torch.where(count_G1 > 0, mean, self.missing)", "mean", HIERARCHY, "learnt_vector"),
    Mutant("hierarchy: inner answers are given outside training", KEYPOINTS,
           "if self.training and self.part_names:", "if self.part_names:", HIERARCHY, "training_alone"),
    Mutant("points: an absent one weighs in an average", "clips/points.py",
           "        mean_NKC = sum_NKC / seen_NK[..., None]", "        mean_NKC = sum_NKC", POINTS, "among_those"),
    Mutant("points: a gap is bridged", "clips/points.py", "seen_NK[..., None] >= 0.5 - 1e-9",
           "seen_NK[..., None] > 0", POINTS, "gap"),
    Mutant("points: training is prepared in its own way", "clips/altered.py",
           "points = self.preprocessing.track(stream, name, moments, geometry)",
           "points = self.preprocessing.track(stream, name, moments, geometry) * np.float32(1.01)", POINTS,
           "nothing_is_drawn"),
    Mutant("points: mirrored, but left stays left", "clips/layouts/layout.py",
           "mirrored = points[..., layout.mirror_order, :]  #", "mirrored = points.copy()  #",
           "tests/test_layouts.py tests/test_points.py", "mirror or invented"),
    Mutant("points: MixUp loses what one saw", "training/mixing.py",
           "mixed = torch.where(both.isnan(), one, both)", "mixed = both", POINTS, "mixup"),
    Mutant("points: joints stay in the recorder's order", "sources/mat.py",
           ".transpose(2, 0, 1)[:, _TO_KINECT20]", ".transpose(2, 0, 1)",
           "tests/test_point_data.py", "order_of_the_layout"),
    # pictures
    Mutant("pictures: left is right", "reports/poses.py", "return LEFT if side > 0 else RIGHT",
           "return RIGHT if side > 0 else LEFT", SHOW, "their_colours"),
    Mutant("pictures: an absent point is drawn", "reports/poses.py", "flat[~body.seen(points)] = np.nan",
           "flat = np.nan_to_num(flat)", SHOW, "not_seen or a_gap or any_points"),
    Mutant("pictures: heads hang down", "reports/poses.py", "return bool(heights[0] > heights[-1])",
           "return bool(heights[0] < heights[-1])", SHOW, "a_head"),
    Mutant("pictures: points of another frame", "reports/clip_view.py",
           "times = middles if pictures is None else pictures.stream.times", "times = middles", SHOW, "very_frame"),
    Mutant("pictures: a file that was not named is overwritten", "reports/showing.py",
           "while path.exists() and (", "while False and (", SHOW, "spare"),
    Mutant("points: time does not close up", "clips/points.py",
           "    times = stream.times[kept_T][0] + np.cumsum(steps)", "    times = stream.times[kept_T]",
           PREPARED, "closes_up or one_before"),
    Mutant("points: a clip without hands is emptied", "clips/points.py",
           "    if kept_T.all() or not kept_T.any():", "    if kept_T.all():", PREPARED,
           "never_shows or has_an_answer"),
    Mutant("points: raw numbers have no bound", "clips/points.py", "FAR = 1e6 ", "FAR = np.inf ", PREPARED,
           "has_an_answer"),
    Mutant("points: what does not move is divided by nothing", "clips/points.py",
           "np.where(still_KC, 1.0, deviation_KC)", "deviation_KC", PREPARED, "standardised"),
    Mutant("points: standardising counts absent ones", "clips/points.py",
           "    number_K1 = np.maximum(there_TK.sum(0), 1)[:, None]\n    about",
           "    number_K1 = np.full((there_TK.shape[1], 1), len(there_TK))\n    about", PREPARED, "standardised"),
    Mutant("points: one option shifts another's numbers", "clips/point_augment.py",
           "altered = faulty(altered, draw.seed, layout, how)",
           "altered = faulty(altered, int(rng.integers(2**62)), layout, how)", ALTERED, "shifts or as_ever"),
    Mutant("points: a longer bone leaves what hangs from it", "clips/point_shapes.py",
           "moved_KTC[rows] = moved_KTC[parents] + np", "moved_KTC[rows] = np", ALTERED, "bones_change"),
    Mutant("points: a body is lopsided", "clips/point_shapes.py", "change_K[right] = change_K[left]", "pass",
           ALTERED, "both_sides"),
    Mutant("points: what hangs from an unseen one stays", "clips/point_shapes.py",
           "np.where(there_KT1[rows], own, anchor)", "own", ALTERED, "hangs_from"),
    Mutant("points: a fault empties a clip", "clips/point_faults.py",
           "drop_span)] = True\n    if not (seen(points_TKC) & ~lost_TK).any():", "drop_span)] = True\n    if False:",
           ALTERED, "one_frame_left"),
    Mutant("points: a bad skeleton may be no skeleton", "clips/point_faults.py",
           "how.poor_lost\n    if not (seen(points_TKC) & ~lost_TK).any():", "how.poor_lost\n    if False:",
           ALTERED, "still_one"),
    Mutant("points: an old copy of a file is used", "clips/kept.py",
           " and self._streams[key][0] == stamp", "", ALTERED, "read_again"),
    Mutant("points: MixUp shows what the main clip does not", "training/mixing.py",
           "        mixed = torch.where(main.isnan(), main, mixed)", "        pass", POINTS, "main"),
    Mutant("points: CutMix counts points that nobody sees", "training/mixing.py",
           "    seen_BK = (~mixed.isnan().any(-1)).sum(1).double()",
           "    seen_BK = torch.ones_like(mixed[:, 0, :, 0]).double()", "tests/test_mixing.py", "counts_those_seen"),
    # series, and several streams at once
    Mutant("series: the test is measured too", "training/measuring.py",
           '    train = manifest.split("train")\n', "    train = manifest\n", SERIES, "sealed"),
    Mutant("series: a resumed training measures anew", "training/sealing.py",
           "            found = read_scales(run, preprocessing) if resume else None\n", "            found = None\n",
           SERIES, "goes_on"),
    Mutant("series: what is not known counts as 0", "clips/series.py",
           "        more = known.sum(0).astype(np.float64)\n",
           "        more = np.full(known.shape[1], float(len(known)))\n", SERIES, "measured"),
    Mutant("series: a sensor is turned after its channels are scaled", "clips/preprocessing.py",
           "            values = turned(series.at_moments(stream.values, stream.times, moments))\n"
           "            return series.normalise(values, self.settings.series, self.scales.get(name))\n",
           "            values = series.at_moments(stream.values, stream.times, moments)\n"
           "            return turned(series.normalise(values, self.settings.series, self.scales.get(name)))\n",
           SERIES, "before_its"),
    Mutant("streams: each keeps its own clock", "clips/together.py",
           "            tracks[name] = replace(stream, times=hands[name](stream.times))\n",
           "            tracks[name] = stream\n", STREAMS, "stretched"),
    Mutant("streams: looked at where one of them was not recorded", "clips/together.py",
           "    if len(within) and first <= last + SLACK:\n        return within\n", "    return clock\n",
           STREAMS, "recorded"),
    Mutant("streams: depth is not flipped with the video", "clips/altered.py",
           "        return self.preprocessing.picture(kind, frames, drawn.geometry)\n",
           "        return self.preprocessing.picture(kind, frames, replace(drawn.geometry, flip=False))\n",
           STREAMS, "puppet"),
    Mutant("streams: points stay where the picture was", "clips/preprocessing.py",
           "        if geometry is not None and self.in_picture(name):\n", "        if False:\n", STREAMS, "puppet"),
    Mutant("streams: unknown depth is a distance", "clips/pictures.py",
           "    known = (frames > 0).astype(np.float32)\n", "    known = np.ones(frames.shape, np.float32)\n",
           STREAMS, "unknown_depth"),
    Mutant("streams: MixUp loses what one of two clips has", "training/mixing.py",
           "        alone = x.ndim == 5 and len(streams) == 1  #", "        alone = x.ndim == 5  #",
           STREAMS, "of_a_step"),
    Mutant("leak: parts of one file are never compared", "clips/check/twins.py",
           "    if one.content == two.content and (one.whole or two.whole):\n        return True\n", "",
           "tests/test_check.py", "windows"),
    Mutant("stages: the second forgets the first", "training/train.py",
           "            init_from = stage.path\n", "            pass\n", STOPS, "stages_follow"),
    # EPIC-KITCHENS-100: its files, what is reported apart, its challenge, segments of long videos
    Mutant("epic: hours of a time stamp are lost", EPIC, "int(hours) * 3600 +", "", EPICS, "time_stamps"),
    Mutant("epic: an action is in the tail only with both", EPIC,
           "[any(each) for each in zip(*rare", "[all(each) for each in zip(*rare", EPICS, "subsets"),
    Mutant("epic: segments of missing videos go silently", EPIC,
           'if self.missing == "error" or len(lost) == total:', "if len(lost) == total:", EPICS, "missing"),
    Mutant("epic: frames have the rate of the stream", "types.py",
           'self.fps if info.kind == "video" and self.fps is not None else info.fps', "info.fps",
           f"{EPICS} tests/test_manifest.py", "rate"),
    Mutant("subsets: a task's own members are passed over", "predictions/metrics.py",
           'table.subsets.get(f"{subset}:{task}", table.subsets.get(subset))', "table.subsets.get(subset)",
           "tests/test_metrics.py", "tail_of_a_task or says_nothing"),
    Mutant("subsets: rows are taken without their subsets", "predictions/scores.py",
           "subsets={name: members[chosen] for name, members in self.subsets.items()},", "subsets=self.subsets,",
           "tests/test_predictions.py tests/test_metrics.py", "subset"),
    Mutant("gap: actions are forgotten", "predictions/metrics.py",
           "for task, seen in tasks_of(train).items():", 'for task, seen in train["tasks"].items():',
           "tests/test_metrics.py", "gap"),
    Mutant("submission: infinity passes", SUBMISSION, "or not math.isfinite(value)", "", SUBMISSIONS, "checker"),
    Mutant("submission: any segments will do", SUBMISSION,
           "if not official.are(sorted(table.clips)):", "if not len(table.clips):", SUBMISSIONS, "other_segments"),
    Mutant("submission: classes in any order", "predictions/submissions/official.py",
           "return len(names) == self.count and hash_classes(names) == self.sha256",
           "return len(names) == self.count", SUBMISSIONS, "numbers_otherwise"),
    Mutant("long videos: another file at the path is not noticed", SHELF,
           "key = (os.fspath(path), _identity(path), limits, threads)",
           "key: Key = (os.fspath(path), (), limits, threads)", SHELVES, "same_path"),
    Mutant("long videos: one that raised is lent again", SHELF,
           "                kept.closing.close()\n            raise",
           "                self._put(key, kept)\n            raise", SHELVES, "raised"),
    Mutant("long videos: a forked process reads its parent's files", SHELF,
           "if self._process != os.getpid():", "if False:", SHELVES, "forked"),
    Mutant("long videos: none is ever closed", SHELF,
           "self._kept.popitem(last=False)[1].closing.close()", "break", SHELVES, "holds or bounded"),
    Mutant("segments in order: a frame that came out before is waited for", DECODING,
           "if number < first or min(missing) <= flow.last:", "if number < first:", SHELVES, "just_opened"),
    Mutant("segments in order: what lies in the segment is skipped", DECODING,
           "spare = index.stamps[number] < index.begin", "spare = True", SHELVES, "just_opened"),
    Mutant("segments in order: each is sought anew", "sources/index.py",
           "if latest is not None and latest.leads_to", "if False and latest.leads_to",
           SHELVES, "every_frame_once"),
    Mutant("segments in order: all frames are kept", DECODING,
           "while len(self.kept) > 1 and self.bytes > _KEPT_BYTES:", "while False:", SHELVES, "few_frames"),
    Mutant("two tasks: validation loss is added up in another way", "training/evaluation.py",
           " * task_weights.get(task, 1.0)", "", "tests/test_two_tasks.py", "validation_loss"),
    # points from video
    Mutant("landmarks: parts in another order than the layout", "sources/landmarks.py",
           '"left_hand_landmarks": 21, "pose_landmarks": 33,', '"pose_landmarks": 33, "left_hand_landmarks": 21,',
           LANDMARKS, "order or rows"),
    Mutant("landmarks: an absent hand becomes a coordinate", "sources/landmarks.py",
           "np.full((POINTS, 3), np.nan, np.float32)", "np.zeros((POINTS, 3), np.float32)", LANDMARKS, "rows"),
    Mutant("landmarks: x and y in different units", "sources/landmarks.py",
           "[width / height, 1, width / height]", "[1, 1, 1]", LANDMARKS, "units"),
    Mutant("landmarks: points of another video are taken for done", "clips/landmarks.py",
           "if source != job.source:", "if False:", LANDMARKS, "mixed"),
    Mutant("landmarks: a folder of unfinished points is a data set", "datasets/folder.py",
           "            refuse_unfinished(folder)\n", "", LANDMARKS, "killed"),
    Mutant("landmarks: predicting looks at other points than the data set has", "recognizer.py",
           "rows = rows_of(preprocessing.layout(name))", "rows = rows_of(preprocessing.layout(name))[::-1]",
           LANDMARKS, "recogniser"),
    Mutant("workers: long work that shows life is given up", "clips/workers.py",
           "        _pipe.send(None)\n", "        pass\n", "tests/test_check.py", "shows_life"),
    # sweeps and jobs
    Mutant("sweeps: a claim changes hands whatever became of it meanwhile", "sweeps/claims.py",
           "AND owner = :owner AND beats = :beats", "", SWEEPS, "as_it_was_seen"),
    Mutant("sweeps: two that insert a claim both have it", "sweeps/database.py",
           "        except IntegrityError:\n            return False",
           "        except IntegrityError:\n            return True",
           SWEEPS, "claim_at_once"),
    Mutant("sweeps: a worker goes on with a trial that is another's by now", "sweeps/claims.py",
           "                lost()\n                return", "                return", SWEEPS, "machine or taken_over"),
    Mutant("sweeps: a trial that was done when its worker died is trained again", "sweeps/worker.py",
           '        if state != "done":', "        if True:", SWEEPS, "after_the_last_step"),
    Mutant("sweeps: a cut trial begins anew", "sweeps/worker.py",
           "resume=self.run.recipe.is_file()", "resume=False", SWEEPS, "stop_leaves"),
    Mutant("sweeps: a configuration that is not finite ends the worker", "sweeps/worker.py",
           'except NonFiniteError as problem:\n                self._end(trial, "failed", str(problem))',
           "except NonFiniteError:\n                raise", SWEEPS, "not_finite"),
    Mutant("sweeps: a full disk is held against the trial", "sweeps/worker.py",
           "except NonFiniteError as problem", "except (NonFiniteError, OutputError, DataError) as problem",
           SWEEPS, "befall"),
    Mutant("sweeps: test ranks", "sweeps/worker.py",
           'read_metrics(self.run.metrics("val"))', 'read_metrics(self.run.metrics("test"))',
           SWEEPS, "stop_leaves or ranked"),
    Mutant("sweeps: workers that begin together draw the same", "sweeps/storage.py",
           "* 1_000_003 + number)", "* 1_000_003)", SWEEPS, "space_is_searched"),
    Mutant("sweeps: a pruned run's last epoch is lost", LOOP,
           "        except (StoppedError, PrunedError):", "        except StoppedError:", SWEEPS, "pruned_trial"),
    Mutant("slurm: a job that was cancelled queues itself again", "slurm.py",
           "if problem.reason not in WARNED:", "if False:", SLURM, "queues_itself and not cluster"),
    Mutant("slurm: a job that is started again begins anew", "training/resuming.py",
           'or _again("SLURM", run)', "", SLURM, "knows_the_run"),
    Mutant("slurm: a batch script that counts tasks waits for them", TEAM,
           'environment.get("SLURM_STEP_NUM_TASKS", "1")', 'environment.get("SLURM_NTASKS", "1")',
           SLURM, "batch_script"),
    # layouts of one's own, and Slovo
    Mutant("layouts: a model is given points of another layout", "clips/preprocessing.py",
           "if differ := differences(layout, found):", "if differ := []:", OWN_LAYOUTS, "never_given or not_taken"),
    Mutant("layouts: the order of parts is no difference", "clips/layouts/layout.py",
           '"parts": list(layout.parts.items())}', '"parts": layout.parts}', OWN_LAYOUTS, "order"),
    Mutant("layouts: a declared one stays behind in a bundle", "bundle.py",
           ', "declared": info.declared}', "}", OWN_LAYOUTS, "nobody_knows"),
    Mutant("layouts: a declared one stays behind in a copy", "clips/manifest.py",
           'more = {"layouts": layouts, "mirror": mirror}', 'more = {"mirror": mirror}', OWN_LAYOUTS, "copy"),
    Mutant("layouts: the name of a built-in one is taken", "clips/dataset_json.py",
           "        if name in LAYOUTS:\n", "        if False:\n", OWN_LAYOUTS, "built_in"),
    Mutant("layouts: points are named anew between stop and resume", "training/train.py",
           "for name in bundle.preprocessing.layouts\n", "for name in ()\n", OWN_LAYOUTS, "resumed"),
    Mutant("mirror: a pair is swapped on one side only", "clips/layouts/layout.py",
           "order[left], order[right] = right, left", "order[left] = right", OWN_LAYOUTS, "own_inverse"),
    Mutant("slovo: a person may stand in both splits", "datasets/slovo.py",
           "            if splits[before] != splits[row]:\n", "            if False:\n", SLOVO, "both_splits"),
    Mutant("slovo: classes keep the numbers of the whole", "datasets/slovo.py",
           "renumbered[[known.index(name) for name in names]] = np.arange(len(names))",
           "renumbered[[known.index(name) for name in names]] = [known.index(name) for name in names]",
           SLOVO, "authors_list or official"),
    Mutant("slovo: videos that are not there are passed over", "datasets/slovo.py",
           'if self.absent == "error":', "if False:", SLOVO, "not_there"),
    Mutant("slovo: cut videos are cut again", "datasets/slovo.py",
           'if self.videos == "trimmed":', "if False:", SLOVO, "as_they_were_released"),
    Mutant("slovo: a hand's number is taken for its side", "datasets/slovo_hands.py",
           "            seen.sort(key=lambda hand: float(hand[0, 0]))\n", "", "tests/test_slovo_hands.py",
           "farther_left"),
    Mutant("compare: rows are compared as they stand", "predictions/alignment.py",
           "sorted(range(len(table)), key=table.clips.__getitem__)", "range(len(table))", COMPARED),
    Mutant("compare: an interval draws clips where there are groups", "predictions/comparison.py",
           "unit, units, over = drawn_units(groups)", 'unit, units, over = drawn_units([""] * len(groups))', COMPARED),
    Mutant("compare: many pairs are tested as if each were alone", "predictions/comparison.py",
           "np.arange(len(order), 0, -1)", "1", COMPARED),
    Mutant("compare: an hour of another program's is the model's", "reports/costs.py",
           "seconds=median", "seconds=statistics.mean(taken)", COMPARED, "timed_in_turns"),
    Mutant("compare: nine looks of a millisecond are enough", "reports/costs.py",
           "turn > TURNS and spent >= ENOUGH", "turn > TURNS", COMPARED, "timed_in_turns"),
    Mutant("compare: memory is of all that was ever alive", "models/counting.py",
           "self.now -= size", "pass", "tests/test_models.py", "memory"),
    # several streams
    Mutant("fusion: windows behind a clip's end count", "models/fusion.py",
           "    count_BW = seen_BWL.sum(-1)\n", "    count_BW = seen_BWL.sum(-1).clamp(min=1)\n",
           "tests/test_fusion.py", "put_behind"),
    Mutant("fusion: all streams of a clip may be left out", "models/fusion.py",
           "(left[name] & some_B).view", "left[name].view", "tests/test_fusion.py", "left_out_in_training"),
    Mutant("fusion: what pads a window is looked at", "models/trunk_looks.py",
           "count_N1 = seen_NL.sum(1, keepdim=True).clamp(min=1)",
           "count_N1 = torch.full_like(seen_NL[:, :1], seen_NL.shape[1], dtype=torch.int64)",
           "tests/test_fusion.py", "put_behind or frames_are_spread"),
    Mutant("fusion: a clip's loss counts windows that it does not have", "training/terms.py",
           "    part_BW = there_BW.to(share_BC) / there_BW.sum(1, keepdim=True).clamp(min=1)\n",
           "    part_BW = torch.ones_like(there_BW).to(share_BC) / there_BW.shape[1]\n",
           "tests/test_fusion.py", "loss"),
    Mutant("fusion: a trunk's settings are not looked at", "models/fusion.py",
           '        settings: Settings = parse(model.Settings, values, "")',
           "        known = {key: value for key, value in values.items() if key in model.Settings.model_fields}\n"
           '        settings: Settings = parse(model.Settings, known, "")',
           "tests/test_fusion.py", "strict"),
    # TFRecords and Montalbano
    Mutant("tfrecord: what is damaged is handed out", RECORDS, "if masked(data) != _number(foot):", "if False:",
           "tests/test_tfrecord.py", "checksum or damage"),
    Mutant("tfrecord: a packed file that is cut reads as a shorter one", RECORDS,
           "    if not unpacker.eof:\n        raise", "    if False:\n        raise", "tests/test_tfrecord.py",
           "cut_anywhere"),
    Mutant("tfrecord: memory is taken for whatever a record announces", RECORDS, "if length > most:", "if False:",
           "tests/test_tfrecord.py", "announces"),
    Mutant("tfrecord: packed bytes are unpacked at one go", RECORDS, "unpacker.decompress(waiting, UNPACKED)",
           "unpacker.decompress(waiting)", "tests/test_tfrecord.py", "announces or memory"),
    Mutant("examples: unpacked numbers are passed over", "sources/examples.py",
           "elif kind == 3 and wire in (_BYTES, _VARINT):", "elif kind == 3 and wire == _BYTES:",
           "tests/test_tfrecord.py", "as_it_was_written"),
    Mutant("montalbano: training keeps the validation clips", SORTING,
           "            if twin is not None:\n", "            if False:\n", MONTALBANO, "left_out_of_train"),
    Mutant("montalbano: a number alone is taken for a leak", SORTING,
           "if alike(entry, other)), None)", "if True), None)", MONTALBANO, "anew_in_each_split"),
    Mutant("montalbano: padding is kept", "datasets/montalbano_clips.py",
           "values[: frames * size].reshape(frames, *shape)", "values.reshape(-1, *shape)", MONTALBANO, "padding_goes"),
    Mutant("montalbano: a file that has changed counts as done", "datasets/montalbano_import.py",
           "if there and size == job.path.stat().st_size else None", "if there else None", MONTALBANO, "change"),
    Mutant("submission: rows of Montalbano in the order of the predictions", "predictions/submissions/montalbano.py",
           "for clip in sorted(answers))", "for clip in answers)", SUBMISSIONS, "rising_order"),
    Mutant("submission: Montalbano's classes count from 0 whatever the files say",
           "predictions/submissions/montalbano.py", ".argmax(axis=1) + self.first", ".argmax(axis=1)",
           SUBMISSIONS, "rising_order"),
    Mutant("names: a letter that the output lacks ends the command", "cli/__init__.py",
           "    _speak_all_letters()\n    arguments", "    arguments", SLOVO, "letter"),
    # ensembles and calibration
    Mutant("ensemble: members are joined by row", ENSEMBLE,
           "by_id = in_one_order(tables)", "by_id = dict(tables)", ENSEMBLES, "permuting or shuffled"),
    Mutant("ensemble: weights are fitted on test", JOINING,
           'fitted_weights(part.splits["val"], of)', 'fitted_weights(part.splits["test"], of)', ENSEMBLES, "never_see"),
    Mutant("ensemble: a member trained on the judged clips is let in", JOINING,
           "            if both:", "            if False:", ENSEMBLES, "trained_on_the_judged"),
    Mutant("ensemble: the best member is chosen on test", JOINING,
           'part.splits["val"] for part in parts if "val" in part.splits',
           'part.splits["test"] for part in parts if "test" in part.splits', ENSEMBLES, "best_member"),
    Mutant("ensemble: columns of a softmax file are taken in their order", "predictions/softmax_files.py",
           "        for name in classes:\n            column = self.columns.column(name)",
           "        for name in [n for n in self.columns.column_names if n in classes]:\n"
           "            column = self.columns.column(name)", ENSEMBLES, "softmax_file_is_a_member"),
    Mutant("ensemble: validation may be the test clips", JOINING,
           "if not val & test:", "if True:", ENSEMBLES, "fit_and_choose_nothing"),
    Mutant("calibration: a temperature is fitted on another checkpoint's answers", "training/judging.py",
           "judged=_unlike_the_bundle(checkpoint, views)", "judged={}", CALIBRATIONS, "several_looks or other_weights"),
    Mutant("calibration: a temperature may change the answer", "calibration.py",
           "lost = found.argmax(-1)[..., None] != before", "lost = np.zeros_like(before, bool)", CALIBRATIONS,
           "same_at_every"),
    Mutant("calibration: evaluation forgets it", "training/judging.py",
           "table = as_sealed(table, bundle)", "pass", CALIBRATIONS, "evaluating_a_calibrated"),
    Mutant("calibration: a repeated one starts from what the first wrote", "predictions/calibrating.py",
           "own = _labelled(at_temperature(scores, 1.0), place)", "own = _labelled(scores, place)", CALIBRATIONS,
           "own_scores"),
    Mutant("calibration: predicting never rejects", "bundle.py",
           "answer[0].probability < self.threshold(task)", "answer[0].probability < 0", CALIBRATIONS, "none_of_these"),
]  # fmt: skip


def run(mutant: Mutant, home: Path) -> tuple[bool, float]:
    """Whether the tests noticed, and how long that took.

    Raises:
        ValueError: the text that the mutant changes is not in the source, or not once.
    """
    copy = home / "src"
    shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / "mudra" / mutant.file
    text = file.read_text("utf-8")
    if text.count(mutant.before) != 1:
        raise ValueError(
            f"{mutant.promise}: its text stands {text.count(mutant.before)} times in {mutant.file}"
        )
    file.write_text(text.replace(mutant.before, mutant.after), "utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout", "90"]
    command += mutant.tests.split()
    command += ["-k", mutant.only] if mutant.only else []
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False
        )
    except subprocess.TimeoutExpired:  # a sabotage may leave processes behind that hold up the end
        return True, time.monotonic() - begun
    if done.returncode not in (0, 1):  # no test was collected, or the sabotage is no Python
        raise ValueError(f"{mutant.promise}: pytest ended with {done.returncode}: {done.stdout[-400:]}")
    return done.returncode == 1, time.monotonic() - begun


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="mutants whose promise contains this")
    parser.add_argument("--list", action="store_true", help="name the mutants and stop")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if arguments.only in mutant.promise]
    caught = 0
    for mutant in chosen:
        if arguments.list:
            print(f"{mutant.promise}  ({mutant.file})")
            continue
        with tempfile.TemporaryDirectory() as home:
            try:
                noticed, took = run(mutant, Path(home))
            except ValueError as problem:
                print(f"ERROR   {mutant.promise}: {problem}", flush=True)
                continue
        caught += noticed
        print(f"{'caught' if noticed else 'MISSED'}  {took:5.1f} s  {mutant.promise}", flush=True)
    if arguments.list:
        return 0
    print(f"{caught} of {len(chosen)} mutants caught")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    raise SystemExit(main())

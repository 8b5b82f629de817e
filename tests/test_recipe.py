"""Recipes: strict, said in one line when wrong, and never a way to run code."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mudra import recipe as recipes
from mudra.errors import RecipeError


def written(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    return path


BASE = "model: {kind: timesformer}\n"


def refused(tmp_path, text, *overrides):
    with pytest.raises(RecipeError) as problem:
        recipes.load(written(tmp_path, text), overrides)
    assert "\n" not in str(problem.value)
    assert problem.value.exit_code == 2
    return str(problem.value)


@pytest.mark.parametrize("name", recipes.catalogue())
def test_every_recipe_that_comes_with_mudra_loads_and_states_its_source(name):
    loaded = recipes.load(name)
    assert {"Title", "Run", "Ours"} <= loaded.about.keys()
    assert name in loaded.about["Run"]


@pytest.mark.parametrize("name", recipes.catalogue())
def test_a_resolved_recipe_reads_back_as_itself(name, tmp_path):
    loaded = recipes.load(name)
    again = recipes.load(written(tmp_path, recipes.write_yaml(loaded.tree())))
    assert again.tree() == loaded.tree()


def test_a_misspelt_key_is_refused_with_the_nearest_known_one(tmp_path):
    said = refused(tmp_path, BASE + "optim: {learing_rate: 0.1, weight_dcay: 0.1}")
    assert "optim, learing_rate" in said
    said = refused(tmp_path, BASE + "optim: {weight_dcay: 0.1}")
    assert "Did you mean 'weight_decay'?" in said


def test_a_misspelt_section_is_refused_with_the_nearest_known_one(tmp_path):
    assert "Did you mean 'optim'?" in refused(tmp_path, BASE + "optimm: {lr: 0.1}")


@pytest.mark.parametrize("rate", ["nan", ".nan", "-1", ".inf", "true", "'0.1'", "[0.1]"])
def test_a_rate_is_a_positive_finite_number(tmp_path, rate):
    assert "optim, lr" in refused(tmp_path, BASE + f"optim: {{lr: {rate}}}")


@pytest.mark.parametrize("batch", ["0", "true", "2.5", "'8'", "-3"])
def test_a_batch_is_a_whole_number_of_at_least_one(tmp_path, batch):
    assert "train, batch" in refused(tmp_path, BASE + f"train: {{batch: {batch}}}")


def test_numbers_in_e_notation_are_numbers(tmp_path):
    assert recipes.load(written(tmp_path, BASE + "optim: {lr: 1e-4}")).optim.lr == 1e-4


def test_duplicate_keys_are_refused(tmp_path):
    assert "lr" in refused(tmp_path, BASE + "optim:\n  lr: 0.1\n  lr: 0.2\n")


@pytest.mark.parametrize(
    "text",
    [
        "model: !!python/object/apply:os.system [echo]\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "model: &m {kind: timesformer}\ndata: *m\n",
        "{{{{{{",
        "- a\n- b\n",
        "model: [1, 2]\n",
        "[" * 5000,
    ],
)
def test_what_is_not_plain_yaml_is_refused(tmp_path, text):
    refused(tmp_path, text)


def test_a_recipe_can_never_name_code(tmp_path):
    (tmp_path / "canary.py").write_text("raise SystemExit('canary ran')")
    sys.path.insert(0, str(tmp_path))
    try:
        for text in (
            "model: {kind: 'canary:X'}",
            "model: {kind: canary.X}",
            "model: {kind: timesformer, class_path: canary.X}",
            "data: {kind: 'canary:X'}\nmodel: {kind: timesformer}",
            "schedule: {kind: canary}\nmodel: {kind: timesformer}",
            "extends: canary\nmodel: {kind: timesformer}",
        ):
            refused(tmp_path, text)
        assert "canary" not in sys.modules
    finally:
        sys.path.remove(str(tmp_path))


def test_an_unknown_kind_names_the_known_ones(tmp_path):
    said = refused(tmp_path, "model: {kind: timesfromer}")
    assert "Did you mean 'timesformer'?" in said


def test_no_stays_a_word(tmp_path):
    assert recipes.read_yaml("a: no\nb: on\nc: 010\nd: 1:30", "x") == {
        "a": "no",
        "b": "on",
        "c": 10,
        "d": "1:30",
    }


def test_overrides_reach_their_section_and_are_typed(tmp_path):
    path = written(tmp_path, BASE)
    loaded = recipes.load(
        path, ["optim.lr=3e-4", "train.epochs=3", "augment.crop=[0.5, 1.0]", "schedule.kind=cosine"]
    )
    assert (loaded.optim.lr, loaded.train.epochs, loaded.augment.crop) == (3e-4, 3, (0.5, 1.0))
    assert loaded.schedule.kind == "cosine"


@pytest.mark.parametrize("change", ["lr=1", "optim.lr", "=3", "optim.=3", "optim.lr.x=1", "nothing.at=1"])
def test_a_malformed_override_is_refused(tmp_path, change):
    refused(tmp_path, BASE + "optim: {lr: 0.1}", change)


def test_a_recipe_lies_over_the_one_it_extends(tmp_path):
    loaded = recipes.load(
        written(tmp_path, "extends: jester-timesformer\noptim: {lr: 0.5}\nschedule: {kind: constant}\n")
    )
    assert loaded.optim.lr == 0.5
    assert loaded.optim.weight_decay == 0.05
    assert loaded.schedule.kind == "constant"
    assert loaded.train.clip_norm == 1.0


def test_a_recipe_cannot_extend_itself(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {path}\nmodel: {{kind: timesformer}}\n")
    with pytest.raises(RecipeError, match="circle"):
        recipes.load(path)


def test_a_recipe_that_is_not_there_is_refused_with_the_nearest_name():
    with pytest.raises(RecipeError, match="Did you mean 'jester-timesformer'"):
        recipes.load("jester-timesfromer")


@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_a_one_line_error(text):
    said = ""
    try:
        recipes.resolve(recipes.read_yaml(text, "text"), "text")
    except RecipeError as problem:
        said = str(problem)
    assert "\n" not in said

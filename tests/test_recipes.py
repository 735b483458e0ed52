"""Recipes: a typo is told with what was meant, and TOML files come back as they went."""

import pytest

from bkind3d_lite.recipes import (
    QUICK_RAT,
    RECIPES,
    Recipe,
    altered,
    find_recipe,
    load_recipe,
    read_recipe,
    write_recipe,
)


def test_recipe_typo_is_a_type_error():
    with pytest.raises(TypeError):
        Recipe("x").with_(keypoint=3)
    with pytest.raises(TypeError, match="'keypoint'; did you mean 'keypoints'"):
        load_recipe({"name": "x", "keypoint": 3})


@pytest.mark.parametrize(
    "recipe",
    [
        *RECIPES.values(),
        Recipe("plain"),
        QUICK_RAT.with_(name='a "quoted" é', views_per_step=None, learning_rate=3e-7),
    ],
    ids=lambda r: r.name,
)
def test_toml_round_trip(tmp_path, recipe):
    assert read_recipe(write_recipe(recipe, tmp_path / "r.toml")) == recipe


def test_a_short_file_has_the_defaults_and_its_own_name(tmp_path):
    (tmp_path / "mine.toml").write_text('keypoints = 9\nside = 300\nbackbone = "resnet18"\n')
    recipe = read_recipe(tmp_path / "mine.toml")
    assert recipe == Recipe("mine").with_(
        keypoints=9, side=300.0, backbone="resnet18"
    ) and isinstance(recipe.volume.side, float)


@pytest.mark.parametrize(
    "text, said",
    [
        ("keypoint = 9", "mine.toml.*'keypoint'.*did you mean 'keypoints'"),
        ("zzz = 9", "mine.toml.*'zzz'.*known: name, keypoints"),
        ("keypoints = 9.5", "mine.toml.*'keypoints' is 9.5; expected int"),
        ("keypoints = true", "mine.toml.*'keypoints' is True"),
        ("mask = 1", "mine.toml.*'mask' is 1; expected bool"),
        ("size = [96]", r"mine.toml.*'image_wh' is \[96\]"),
        ("gaps = 0.4", "mine.toml.*'gaps' is 0.4"),
        ("gaps = []", "mine.toml.*'gaps'"),
        ('rate = "fast"', "mine.toml.*'learning_rate' is 'fast'; expected float"),
        ("keypoints = ", "mine.toml"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path, text, said):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_recipe(tmp_path / "mine.toml")


def test_finding_a_recipe(tmp_path):
    assert find_recipe("quick-rat") is QUICK_RAT
    with pytest.raises(ValueError, match="did you mean 'quick-rat'"):
        find_recipe("quick-rats")
    with pytest.raises(FileNotFoundError, match="none.toml"):
        find_recipe(str(tmp_path / "none.toml"))


def test_altering_by_words():
    recipe = altered(
        QUICK_RAT,
        [
            "keypoints=7",
            "views=none",
            "backbone=resnet50",
            "gaps=[0.1, 0.3]",
            "mask=false",
            "side=900",
            "rate = 1e-4",
        ],
    )
    assert recipe == QUICK_RAT.with_(
        keypoints=7,
        views_per_step=None,
        backbone="resnet50",
        gaps=(0.1, 0.3),
        mask=False,
        side=900.0,
        learning_rate=1e-4,
    )
    for word, said in (
        ("keypoint=7", "keypoints"),
        ("keypoints=many", "expected int"),
        ("keypoints", "key=value"),
    ):
        with pytest.raises(ValueError, match=f"--set.*{said}"):
            altered(QUICK_RAT, [word])

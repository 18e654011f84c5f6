"""A small model that LightGBM 4.7.0 has trained, and what it predicts."""

from typing import Any

Json = dict[str, Any]


def split(
    feature: int,
    threshold: float | str,
    left: Json | float,
    right: Json | float,
    decision: str = "<=",
    **more: Any,
) -> Json:
    """A split as LightGBM writes it; a number is a leaf."""
    return {
        "split_feature": feature,
        "threshold": threshold,
        "decision_type": decision,
        "left_child": left if isinstance(left, dict) else {"leaf_value": left},
        "right_child": right if isinstance(right, dict) else {"leaf_value": right},
        **more,
    }


def boosted(*trees: Json | float, names: tuple[str, ...] = ("age",), **more: Any) -> Json:
    """The modelState of these trees."""
    roots = [tree if isinstance(tree, dict) else {"leaf_value": tree} for tree in trees]
    structures = [{"tree_structure": root} for root in roots]
    return {"feature_names": [*names], "trees": structures, **more}


STATE = boosted(
    split(
        0,
        45.50000000000001,
        split(
            1,
            "1||4",
            split(
                2,
                0.43500000000000005,
                -0.385172870912334,
                0.31552824128944074,
                missing_type="NaN",
                default_left=True,
            ),
            -0.7405170395071611,
            "==",
            missing_type="None",
            default_left=False,
        ),
        split(
            2,
            -0.6949999999999998,
            -0.47963664291894803,
            0.11649316887945338,
            missing_type="NaN",
            default_left=False,
        ),
        missing_type="NaN",
        default_left=False,
    ),
    split(
        1,
        "1||4",
        split(
            0,
            45.50000000000001,
            0.10224476903621887,
            0.5492720407584522,
            missing_type="NaN",
            default_left=False,
        ),
        split(
            0,
            45.50000000000001,
            -0.3815625532459773,
            split(
                2,
                0.16500000000000004,
                -0.14178584642537875,
                0.37087180526361546,
                missing_type="NaN",
                default_left=True,
            ),
            missing_type="NaN",
            default_left=False,
        ),
        "==",
        missing_type="None",
        default_left=False,
    ),
    split(
        1,
        "1||4",
        split(
            0,
            45.50000000000001,
            0.07111045355816609,
            0.41883161902370947,
            missing_type="NaN",
            default_left=False,
        ),
        split(
            0,
            45.50000000000001,
            -0.32511809813040876,
            split(
                2,
                -0.6849999999999999,
                -0.4161574276060285,
                0.12695849954904745,
                missing_type="NaN",
                default_left=False,
            ),
            missing_type="NaN",
            default_left=False,
        ),
        "==",
        missing_type="None",
        default_left=False,
    ),
    split(
        2,
        1.1050000000000002,
        split(
            0,
            45.50000000000001,
            split(
                1,
                "1||4",
                -0.021872213476052074,
                -0.3090350232298626,
                "==",
                missing_type="None",
                default_left=False,
            ),
            split(
                1,
                "1||4",
                0.28806920377076844,
                -0.03536935061607494,
                "==",
                missing_type="None",
                default_left=False,
            ),
            missing_type="NaN",
            default_left=False,
        ),
        0.3941466609031295,
        missing_type="NaN",
        default_left=True,
    ),
    names=("age", "region", "trend"),
    objective="binary sigmoid:1",
)
ROWS: list[list[float | None]] = [
    [30, 1, 0.5],
    [None, 4, -1.2],
    [61, 0, None],
    [45, 9, 0],
    [46, -1, 2.5],
    [None, None, None],
    [18, 2, -0.3],
    [75, 5, 1e300],
]
PREDICTED = [
    0.6146761159402523,
    0.6849331104885512,
    0.5165680499362832,
    0.14726279385467697,
    0.7327206454044431,
    0.5165680499362832,
    0.14726279385467697,
    0.7327206454044431,
]

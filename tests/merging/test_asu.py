"""Asymmetric units against gemmi's, which goes index by index."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from hdrmx.errors import InputError
from hdrmx.merging.asu import group_equivalents, packed, space_group_of, to_asu

GROUPS = [group for group in gemmi.spacegroup_table() if group.is_sohncke()]


def test_every_setting_agrees_with_gemmi() -> None:
    hkl = np.random.default_rng(1).integers(-6, 7, (60, 3)).astype(np.int32)
    hkl[:6] = [(0, 0, 3), (0, -2, 0), (4, 0, 0), (2, 2, 0), (0, 0, 0), (-3, 3, -3)]
    for group in gemmi.spacegroup_table():
        mapped, isym = to_asu(hkl, group)
        asu, operations = gemmi.ReciprocalAsu(group), group.operations()
        for one, found, number in zip(hkl.tolist(), mapped.tolist(), isym.tolist()):
            assert (list(found), number) == tuple(asu.to_asu(one, operations)), (group.xhm(), one)


@pytest.mark.parametrize("name", ["P 1", "C 1 2 1", "I 2 3", "P 61 2 2", "R 3 2:H", "F 4 3 2"])
def test_equivalents_fall_together(name: str) -> None:
    group = space_group_of(name)
    hkl = np.array([(3, 5, 7)], np.int32)
    turned = [op.apply_to_hkl([3, 5, 7]) for op in group.operations().sym_ops]
    both = np.array(turned + [[-h, -k, -l] for h, k, l in turned], np.int32)
    found = group_equivalents(both, group)
    assert len(found) == 1
    assert found.is_minus.sum() == len(turned)
    assert (found.hkl == to_asu(hkl, group)[0]).all()


def test_centric_reflections_have_no_minus() -> None:
    found = group_equivalents(
        np.array([(0, 1, 2), (0, -1, -2), (1, 2, 3), (-1, -2, -3)], np.int32), space_group_of("P 2 2 2")
    )
    assert found.is_centric.tolist() == [True, False]
    assert found.is_minus.tolist() == [False, False, False, True]
    assert found.epsilon.tolist() == [1, 1]


def test_packed_keeps_the_order() -> None:
    hkl = np.random.default_rng(2).integers(-9, 10, (500, 3))
    assert (np.argsort(packed(hkl), kind="stable") == np.lexsort(hkl.T[::-1])).all()


def test_no_observations() -> None:
    found = group_equivalents(np.zeros((0, 3), np.int32), space_group_of("P 1"))
    assert len(found) == 0
    assert found.group.shape == (0,)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="'P 5'"):
        space_group_of("P 5")
    with pytest.raises(InputError, match="exceeds"):
        to_asu(np.array([[1 << 20, 0, 0]], np.int32), space_group_of("P 1"))

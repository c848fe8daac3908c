import lattice_spots as synth
import numpy as np
import pytest

from hdrmx.errors import InputError
from hdrmx.indexing.bravais import centring, settings
from hdrmx.indexing.combine import reduce_lattice
from hdrmx.indexing.known import (
    PRIMITIVE,
    match_cell,
    parse_cell,
    parse_space_group,
    primitive_axes,
    setting_for,
)
from hdrmx.indexing.lattices import misorientation_deg
from hdrmx.models import cell_of

LATTICES = [
    ("aP", "P", (10, 12, 14, 100, 95, 95)),
    ("mP", "P", (10, 12, 14, 90, 100, 90)),
    ("mC", "C", (40, 12, 14, 90, 100, 90)),
    ("mI", "I", (35, 12, 41, 90, 93, 90)),
    ("oP", "P", (10, 12, 14, 90, 90, 90)),
    ("oC", "C", (10, 22, 14, 90, 90, 90)),
    ("oF", "F", (10, 12, 14, 90, 90, 90)),
    ("oI", "I", (10, 12, 14, 90, 90, 90)),
    ("tP", "P", (10, 10, 14, 90, 90, 90)),
    ("tI", "I", (10, 10, 34, 90, 90, 90)),
    ("tI", "I", (30, 30, 14, 90, 90, 90)),
    ("hP", "P", (10, 10, 14, 90, 90, 120)),
    ("hR", "R", (10, 10, 34, 90, 90, 120)),
    ("hR", "R", (30, 30, 14, 90, 90, 120)),
    ("cP", "P", (10, 10, 10, 90, 90, 90)),
    ("cI", "I", (78, 78, 78, 90, 90, 90)),
    ("cF", "F", (78, 78, 78, 90, 90, 90)),
]
NUMBER = {"aP": 1, "mP": 2, "oP": 5, "tP": 9, "hP": 12, "hR": 5, "cP": 22, "cI": 22, "cF": 22}


def reduced(kind, cell, seed=1):
    real = primitive_axes(cell, kind) @ synth.random_rotation(seed)
    return reduce_lattice(np.linalg.inv(real))


@pytest.mark.parametrize(("bravais", "kind", "cell"), LATTICES)
def test_every_lattice_is_recognised(bravais, kind, cell):
    A = reduced(kind, cell)
    found = settings(A, 1.0)
    best = found[-1]
    assert best.bravais == bravais
    assert best.misfit_deg < 0.01
    assert found[0].bravais == "aP"
    conventional = best.change @ np.linalg.inv(A)
    assert np.linalg.det(conventional) > 0
    np.testing.assert_allclose(cell_of(np.linalg.inv(conventional)), cell, atol=1e-3)
    if bravais in NUMBER:
        assert len(found) == NUMBER[bravais]


def test_rotations_keep_the_metric():
    real = np.linalg.inv(reduced("I", (78, 78, 78, 90, 90, 90)))
    best = settings(np.linalg.inv(real), 1.0)[-1]
    assert best.order == 24
    for w in best.rotations:
        np.testing.assert_allclose(w.T @ (real @ real.T) @ w, real @ real.T, atol=1e-6)


def test_nearly_symmetric_lattices_carry_their_misfit():
    found = settings(reduced("P", (10, 10.3, 14, 90, 90, 90)), 5.0)
    tetragonal = [s for s in found if s.bravais == "tP"]
    assert len(tetragonal) == 1
    expected = 2 * abs(45 - np.degrees(np.arctan2(10, 10.3)))
    assert tetragonal[0].misfit_deg == pytest.approx(expected, rel=0.02)
    assert not [s for s in settings(reduced("P", (10, 10.3, 14, 90, 90, 90)), 1.0) if s.bravais == "tP"]


@pytest.mark.parametrize("kind", PRIMITIVE)
def test_centring_of_each_kind(kind):
    change = np.rint(np.linalg.inv(PRIMITIVE[kind])).astype(int)
    assert centring(change) == kind


@pytest.mark.parametrize(("bravais", "kind", "cell"), LATTICES)
def test_known_cell_is_put_in_place(bravais, kind, cell):
    stretched = tuple(x * s for x, s in zip(cell, (1.01, 0.99, 1.012, 1.0, 1.0, 1.0)))
    A = reduced(kind, cell)
    placed = match_cell(A, stretched, kind, 0.05, 5.0)
    np.testing.assert_allclose(cell_of(placed), cell, atol=1e-3)
    assert np.linalg.det(placed) > 0
    wrong = (cell[0] * 1.3, *cell[1:])
    if bravais in ("aP", "mP", "oP"):
        assert match_cell(A, wrong, kind, 0.05, 5.0) is None


@pytest.mark.parametrize(
    ("symbol", "kind", "cell"),
    [
        ("P 1 21 1", "P", (10, 12, 14, 90, 100, 90)),
        ("P 1 1 21", "P", (10, 14, 12, 90, 90, 100)),
        ("C 1 2 1", "C", (40, 12, 14, 90, 100, 90)),
        ("P 21 21 21", "P", (10, 12, 14, 90, 90, 90)),
        ("A 2 2 2", "A", (14, 10, 22, 90, 90, 90)),
        ("P 43 21 2", "P", (10, 10, 14, 90, 90, 90)),
        ("P 31 2 1", "P", (10, 10, 14, 90, 90, 120)),
        ("R 3 2:H", "R", (10, 10, 34, 90, 90, 120)),
        ("I 2 3", "I", (78, 78, 78, 90, 90, 90)),
    ],
)
def test_space_group_alone_gives_its_axes(symbol, kind, cell):
    A = reduced(kind, cell)
    change = setting_for(parse_space_group(symbol), settings(A, 2.0), np.linalg.inv(A))
    assert centring(change) == kind
    found = cell_of(np.linalg.inv(change @ np.linalg.inv(A)))
    np.testing.assert_allclose(sorted(found[:3]), sorted(cell[:3]), atol=1e-3)
    np.testing.assert_allclose(sorted(found[3:]), sorted(cell[3:]), atol=1e-3)


def test_space_group_without_a_setting():
    A = reduced("P", (10, 12, 14, 90, 90, 90))
    assert setting_for(parse_space_group("I 2 2 2"), settings(A, 2.0), np.linalg.inv(A)) is None
    assert setting_for(parse_space_group("P 4"), settings(A, 2.0), np.linalg.inv(A)) is None


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "a,b,c,d,e,f", "10,10,10,90,90,190", "10,10,0,90,90,90", "9,9,9,30,30,90"]
)
def test_bad_cells_are_refused(text):
    with pytest.raises(InputError, match=r"index\.cell"):
        parse_cell(text)


def test_bad_space_group_is_refused():
    assert parse_space_group("19").hm == "P 21 21 21"
    with pytest.raises(InputError, match="not a known symbol"):
        parse_space_group("P 99")


def test_misorientation_forgets_the_choice_of_axes():
    A = reduced("P", (10, 10, 14, 90, 90, 120))
    sixth = synth.rotation(np.linalg.inv(A)[2], 60)
    assert misorientation_deg(A, sixth @ A) < 0.01
    turned = synth.rotation((1, 2, 3), 3.0) @ A
    assert misorientation_deg(A, turned) == pytest.approx(3.0, abs=1e-3)
    assert misorientation_deg(A, np.asarray(synth.crystal((20, 30, 40, 90, 90, 90)).A)) == 180.0

"""Experiment lists: ours to DIALS's and back, real files of every stage, damaged ones."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.errors import InputError
from hdrmx.io.cbf_mini import goniometer_of
from hdrmx.io.dials_models import Profile, read_expt, write_expt
from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Panel, Scan

TILT = math.cos(0.3), math.sin(0.3)


def geometry() -> Geometry:
    """Two tilted panels, three goniometer axes, an oblique beam."""
    panels = tuple(
        Panel(
            f"p{i}",
            (512, 1028),
            (0.075, 0.08),
            (-38.9, 18.6 - 40 * i, -80.0),
            (1.0, 0.0, 0.0),
            (0.0, -TILT[0], TILT[1]),
            (550 * i, 0),
            0.45,
            "Si",
            3.9,
        )
        for i in range(2)
    )
    axes = (("PHI", (0.6, 0.8, 0.0), 0.2), ("OMEGA", (1.0, 0.0, 0.0), 0.1), ("BASE", (0.0, 0.0, 1.0), 0.05))
    beam = Beam(0.98, (0.0, 0.6, -0.8), (0.0, 0.8, 0.6), 0.9, 0.001, 1e12)
    scan = Scan(10, 40, 0.1, math.radians(0.3), 0.02)
    return Geometry(beam, Detector(panels, (0.0, 60000.0), 1.0, "EIGER2"), goniometer_of(axes, 1), scan)


def crystal(shift: float = 0.0, space_group: str = "P 21 21 21") -> Crystal:
    A = ((0.018, 0.0, 0.0), (0.0, 0.017 + shift, 0.0), (0.0, 0.0, 0.015))
    return Crystal(A, space_group)


def same(a: Geometry, b: Geometry) -> None:
    np.testing.assert_allclose(a.beam.direction, b.beam.direction, atol=1e-15)
    assert replace(a.beam, direction=b.beam.direction, divergence_rad=b.beam.divergence_rad) == b.beam
    assert a.detector.trusted == b.detector.trusted
    for p, q in zip(a.detector.panels, b.detector.panels, strict=True):
        np.testing.assert_allclose((p.fast_axis, p.slow_axis), (q.fast_axis, q.slow_axis), atol=1e-15)
        assert replace(p, fast_axis=q.fast_axis, slow_axis=q.slow_axis) == q
    for name in ("axis", "fixed", "setting"):
        np.testing.assert_allclose(getattr(a.goniometer, name), getattr(b.goniometer, name), atol=1e-12)
    assert (a.scan.first, a.scan.n_frames, a.scan.exposure_s) == (b.scan.first, b.scan.n_frames, b.scan.exposure_s)
    assert a.scan.start_rad == pytest.approx(b.scan.start_rad, rel=1e-14)
    assert a.scan.width_rad == pytest.approx(b.scan.width_rad, rel=1e-14)


@pytest.mark.parametrize(("ours", "theirs"), [((0.0, 60000.0), [-1.0, 60000.0]), ((-2.0, 9.0), [-3.0, 9.0])])
def test_the_trusted_range_is_open_below_in_files_of_dials(ours: tuple, theirs: list, tmp_path: Path) -> None:
    """dxtbx 3.11 would take every pixel without a photon out of a range that begins at 0."""
    path, model = tmp_path / "a.expt", geometry()
    model = replace(model, detector=replace(model.detector, trusted=ours))
    write_expt(path, model, tmp_path / "x_master.h5")
    text = json.loads(path.read_text())
    for panel in text["detector"][0]["panels"]:
        assert panel["trusted_range"] == theirs
        panel["trusted_range"][0] = 0.0
    assert read_expt(path)[0].geometry.detector.trusted == ours
    path.write_text(json.dumps(text))
    assert read_expt(path)[0].geometry.detector.trusted == (0.0, ours[1])


def test_models_survive(tmp_path: Path) -> None:
    path, model = tmp_path / "a.expt", geometry()
    points = np.repeat(np.asarray(crystal().A)[None], 41, 0)
    crystals = [replace(crystal(), A_at_scan_points=points), crystal(0.001, "C 1 2 1")]
    profile = Profile(math.radians(0.02), (math.radians(0.1),), 3.0)
    names = write_expt(path, model, tmp_path / "x_master.h5", crystals=crystals, profile=profile)
    found = read_expt(path)
    assert [e.identifier for e in found] == [names[0], names[1]]
    for experiment, written in zip(found, crystals, strict=True):
        same(experiment.geometry, model)
        np.testing.assert_allclose(experiment.crystal.A, written.A, atol=1e-12)
        assert experiment.crystal.space_group == written.space_group
        assert experiment.profile.sigma_m_rad == pytest.approx(profile.sigma_m_rad)
        assert experiment.template == str(tmp_path / "x_master.h5")
    np.testing.assert_allclose(found[0].crystal.A_at_scan_points, points, atol=1e-12)
    assert found[1].crystal.A_at_scan_points is None
    assert [axis[0] for axis in found[0].geometry.goniometer.axes] == ["PHI", "OMEGA", "BASE"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.expt"]


def test_a_goniometer_that_was_refined_is_told_by_its_rotations(tmp_path: Path) -> None:
    model = geometry()
    model = replace(model, goniometer=replace(model.goniometer, setting=Goniometer().setting))
    write_expt(tmp_path / "a.expt", model, "x.h5")
    found = read_expt(tmp_path / "a.expt")[0].geometry
    same(found, model)
    np.testing.assert_allclose(found.goniometer.setting, Goniometer().setting, atol=1e-12)
    assert found.goniometer.axes == ()


def test_identifiers_follow_from_the_content_not_the_folder(tmp_path: Path) -> None:
    def names(folder: str, **changes: object) -> dict[int, str]:
        return write_expt(tmp_path / "a.expt", replace(geometry(), **changes), tmp_path / folder / "x_####.cbf")

    first = names("a")
    assert names("b") == first
    assert names("a", beam=Beam(0.99)) != first
    two = write_expt(tmp_path / "a.expt", geometry(), "x_####.cbf", crystals=[crystal(), crystal()])
    assert len({*two.values(), *first.values()}) == 3
    assert [len(part) for part in first[0].split("-")] == [8, 4, 4, 4, 12]


def test_same_models_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_expt(tmp_path / name, geometry(), "x.h5", crystals=[crystal()])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_images_of_one_file_and_of_many(tmp_path: Path) -> None:
    write_expt(tmp_path / "a.expt", geometry(), "/data/x_master.h5")
    one = json.loads((tmp_path / "a.expt").read_text())["imageset"][0]
    assert one["template"] == "/data/x_master.h5"
    assert one["single_file_indices"] == list(range(10, 50))
    write_expt(tmp_path / "a.expt", geometry(), "/data/x_####.cbf")
    many = json.loads((tmp_path / "a.expt").read_text())["imageset"][0]
    assert "single_file_indices" not in many
    assert many["mask"] is None


def test_stills_without_a_scan(tmp_path: Path) -> None:
    model = replace(geometry(), scan=None, goniometer=None)
    with pytest.raises(ValueError, match="indices"):
        write_expt(tmp_path / "a.expt", model, "x.h5")
    write_expt(tmp_path / "a.expt", model, "x.h5", indices=range(3, 8))
    scan = read_expt(tmp_path / "a.expt")[0].geometry.scan
    assert (scan.first, scan.n_frames, scan.is_still) == (3, 5, True)


REAL = {
    "ref_quartz_processed/imported.expt": None,
    "ref_quartz_processed/indexed.expt": (4.9247, 4.9247, 5.4007, 90, 90, 120),
    "ref_quartz_processed/refined.expt": (4.9249, 4.9249, 5.4014, 90, 90, 120),
    "ref_quartz_processed/reindexed.expt": (4.9264, 4.9264, 5.3997, 90, 90, 120),
    "ref_quartz_processed/integrated.expt": (4.9249, 4.9249, 5.4014, 90, 90, 120),
    "ref_quartz_processed/scaled.expt": (4.9249, 4.9249, 5.4014, 90, 90, 120),
    "ref_centroid_test_data/indexed.expt": (42.2085, 42.2085, 39.6927, 90, 90, 90),
    "ref_centroid_test_data/experiments.json": (42.2717, 42.272, 39.6704, 90, 90, 90),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_of_every_stage(shared_data: Path, name: str) -> None:
    (experiment,) = read_expt(shared_data / name)
    scan = experiment.geometry.scan
    quartz = "quartz" in name
    assert scan.n_frames == (100 if quartz else 9)
    assert np.degrees(scan.width_rad) == pytest.approx(1.0 if quartz else 0.2)
    assert experiment.geometry.beam.probe == ("electron" if quartz else "x-ray")
    assert experiment.template == ("###.tif" if quartz else "centroid_####.cbf")
    if REAL[name] is None:
        assert experiment.crystal is None
    else:
        assert experiment.crystal.cell == pytest.approx(REAL[name], abs=2e-3)
        assert experiment.crystal.space_group == ("P 31 2 1" if quartz else "P 4 2 2")
    assert (experiment.profile is not None) == (
        name.split("/")[1] in ("integrated.expt", "scaled.expt", "experiments.json")
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "is not an experiment list"),
        ("{}", "missing required field"),
        ('{"__id__": "Crystal", "experiment": []}', "says that it is 'Crystal'"),
        ('{"__id__": "ExperimentList", "experiment": [{"beam": "beam.json"}]}', "Expected `int"),
        ('{"__id__": "ExperimentList", "experiment": [{"beam": 3}]}', "beam|detector"),
        ("[" * 100000, "is not an experiment list"),
    ],
)
def test_what_is_not_an_experiment_list_is_refused(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "a.expt").write_text(content)
    with pytest.raises(InputError, match=text):
        read_expt(tmp_path / "a.expt")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_no_damage_gets_past_as_another_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.expt"
    write_expt(path, replace(geometry(), scan=Scan(0, 1, 0, 0.1)), "x_##.cbf", crystals=[crystal()])
    document = json.loads(path.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        node, key = document, None
        for _ in range(data.draw(st.integers(1, 6))):
            if key is not None and isinstance(node[key], dict | list) and len(node[key]):
                node = node[key]
            key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        node[key] = data.draw(
            st.sampled_from([0, -1, 1e308, 10**30, None, "x", [], {}, [0.0, 0.0, 0.0], [1] * 9, True])
        )
    path.write_text(json.dumps(document))
    with contextlib.suppress(InputError):
        read_expt(path)

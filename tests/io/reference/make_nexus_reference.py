"""Write what dxtbx reads from NXmx files: geometry, scan, trusted range, mask.

Run with the Python of a DIALS installation (3.12 for the stored file), after `python tests/io/nxmx_cases.py CASES`:

    dials.python tests/io/reference/make_nexus_reference.py DATA CASES > tests/io/reference/nexus_dxtbx.json

DATA is the folder of shared test data. Numbers only are stored.
"""

import gzip
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from dials.util.version import dials_version
from dxtbx import flumpy
from dxtbx.model.experiment_list import ExperimentListFactory
from dxtbx.model.goniometer import MultiAxisGoniometer

REAL = (
    "cinchonine_3ded/nxmx_A_001_200/cinchonine_master.h5",
    "sim_dense_P212121/dense_P212121_master.h5",
    "sim_sparse_I222/sparse_I222_master.h5",
)
SPLIT = "eiger_nxmx_metadata/dls_i03_ins_8_5.nxs", "eiger_nxmx_metadata/dls_i03_ins_8_5_meta.h5.gz"


def describe(path, with_mask):
    experiments = ExperimentListFactory.from_filenames([str(path)])
    experiment = experiments[0]
    beam, goniometer, scan = experiment.beam, experiment.goniometer, experiment.scan
    found = {
        "wavelength_A": beam.get_wavelength(),
        "s0": beam.get_s0(),
        "polarization_normal": beam.get_polarization_normal(),
        "panels": [
            {
                "name": panel.get_name(),
                "origin_mm": panel.get_origin(),
                "fast_axis": panel.get_fast_axis(),
                "slow_axis": panel.get_slow_axis(),
                "pixel_mm_fast_slow": panel.get_pixel_size(),
                "size_fast_slow": panel.get_image_size(),
                "trusted_range": panel.get_trusted_range(),
                "gain": panel.get_gain(),
                "thickness_mm": panel.get_thickness(),
                "material": panel.get_material(),
                "mu_per_mm": panel.get_mu(),
            }
            for panel in experiment.detector
        ],
        "rotation_axis": goniometer.get_rotation_axis_datum(),
        "fixed_rotation": goniometer.get_fixed_rotation(),
        "setting_rotation": goniometer.get_setting_rotation(),
        "n_frames": sum(e.scan.get_num_images() for e in experiments),  # stills: an experiment each
        "oscillation_deg": scan.get_oscillation(),
        "exposure_s": scan.get_exposure_times()[0],
    }
    if isinstance(goniometer, MultiAxisGoniometer):
        found["axes"] = [list(axis) for axis in goniometer.get_axes()]
        found["angles_deg"] = list(goniometer.get_angles())
        found["names"] = list(goniometer.get_names())
        found["scan_axis"] = goniometer.get_scan_axis()
    if with_mask:
        static = experiment.imageset.get_format_class().get_instance(str(path)).get_static_mask()
        masks = [np.asarray(flumpy.to_numpy(mask), bool) for mask in static or ()]
        found["usable_pixels"] = [int(mask.sum()) for mask in masks]
        found["mask_sha256"] = [hashlib.sha256(np.packbits(mask).tobytes()).hexdigest() for mask in masks]
    return found


def main(data, cases):
    result = {"made_with": {"program": dials_version()}, "files": {}}
    for name in REAL:
        result["files"][name] = describe(data / name, with_mask=True)
    with tempfile.TemporaryDirectory() as folder:
        master, meta = data / SPLIT[0], data / SPLIT[1]
        (Path(folder) / master.name).write_bytes(master.read_bytes())
        (Path(folder) / "ins_8_5_meta.h5").write_bytes(gzip.decompress(meta.read_bytes()))
        result["files"][SPLIT[0]] = describe(Path(folder) / master.name, with_mask=True)
    result["cases"] = {path.stem: describe(path, with_mask=True) for path in sorted(cases.glob("*.nxs"))}
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""A small cohort on surfaces, written with nibabel: two spheres and two subcortical boxes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import cifti2, gifti

TR = 2.0
SIDES = {"CORTEX_LEFT": "L", "CORTEX_RIGHT": "R"}
WALL = 20  # vertices of the medial wall of each side
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])
AFFINE[:3, 3] = (20, -10, -10)


def sphere(times=2, radius=40.0):
    """Vertices (n, 3) and triangles of an octahedron that was subdivided; n = 4^(times + 1) + 2."""
    points = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    faces = [(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)]
    xyz = [np.array(p, dtype=float) for p in points]
    for _ in range(times):
        middle: dict[tuple[int, int], int] = {}

        def half(a, b, middle=middle):
            key = (min(a, b), max(a, b))
            if key not in middle:
                point = xyz[a] + xyz[b]
                xyz.append(point / np.linalg.norm(point))
                middle[key] = len(xyz) - 1
            return middle[key]

        new = []
        for a, b, c in faces:
            ab, bc, ca = half(a, b), half(b, c), half(c, a)
            new += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        faces = new
    return radius * np.array(xyz), np.array(faces)


def write_surfaces(root):
    """Write ``left.surf.gii`` and ``right.surf.gii``."""
    found = []
    for name, shift in (("left", -45.0), ("right", 45.0)):
        xyz, faces = sphere()
        arrays = [
            gifti.GiftiDataArray(
                (xyz + np.array([shift, 0, 0])).astype(np.float32), intent="NIFTI_INTENT_POINTSET"
            ),
            gifti.GiftiDataArray(faces.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE"),
        ]
        found.append(Path(root) / f"{name}.surf.gii")
        nib.save(gifti.GiftiImage(darrays=arrays), found[-1])
    return tuple(found)


def brain_models(wall=WALL):
    """Grayordinates: both spheres without their medial wall, and two boxes of voxels."""
    count = len(sphere()[0])
    models = [
        cifti2.BrainModelAxis.from_surface(np.arange(wall, count), count, f"CIFTI_STRUCTURE_{s}")
        for s in SIDES
    ]
    for name, corner in (("THALAMUS_LEFT", 0), ("THALAMUS_RIGHT", 6)):
        mask = np.zeros((12, 6, 5), dtype=bool)
        mask[corner : corner + 5, :4, :4] = True
        models.append(
            cifti2.BrainModelAxis.from_mask(mask, name=f"CIFTI_STRUCTURE_{name}", affine=AFFINE)
        )
    return models[0] + models[1] + models[2] + models[3]


def series(volumes, width, seed):
    """Intensities (T, V) float32 around 1000, with the same mean image for every seed."""
    mean = 1000 + 200 * np.random.default_rng(0).random(width)
    noise = np.random.default_rng(seed).normal(size=(volumes, width))
    return (mean + 10 * noise).astype(np.float32)


def write_dtseries(path, values, *, axis=None, tr=TR, start=0.0):
    """Write values (T, V) as ``.dtseries.nii``."""
    rows = cifti2.SeriesAxis(start, tr, len(values))
    nib.save(cifti2.Cifti2Image(values, header=(rows, axis or brain_models())), path)
    return path


def write_dlabel(path, keys, names):
    """Write labels (V,), or several maps of them (M, V), as ``.dlabel.nii``; `names` by label."""
    table = {0: ("none", (0, 0, 0, 0)), **{k: (n, (1, 1, 1, 1)) for k, n in names.items()}}
    values = np.atleast_2d(np.asarray(keys, dtype=np.float32))
    axis = cifti2.LabelAxis(["atlas"] * len(values), [table] * len(values))
    nib.save(cifti2.Cifti2Image(values, header=(axis, brain_models())), path)
    return path


def write_func(path, values, *, tr=TR, structure=None, intent="NIFTI_INTENT_TIME_SERIES"):
    """Write values (T, V) as one hemisphere in ``.func.gii``."""
    meta = {"TimeStep": str(1000 * tr)} if tr else {}
    if structure:
        meta["AnatomicalStructurePrimary"] = structure
    arrays = [gifti.GiftiDataArray(row.astype(np.float32), intent=intent) for row in values]
    image = gifti.GiftiImage(darrays=arrays, meta=gifti.GiftiMetaData(**meta))
    nib.save(image, path)
    return path


def write_volumes(path, values, affine, *, tr=TR):
    """Write values (X, Y, Z) or (X, Y, Z, T) as NIfTI."""
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    if values.ndim == 4:
        image.header["pixdim"][4] = tr
    nib.save(image, path)
    return path


def write_cohort(root, kind="cifti", *, subjects=3, runs=1, volumes=40):
    """Write a runs table with events; `kind` is cifti, gifti or tsv (parcels)."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    rows = ["subject\trun\tbold\tevents\ttr"]
    words = ["a dog runs", "two people talk", "a car stops", "rain falls", "a child sings"]
    for s in range(1, subjects + 1):
        for r in range(1, runs + 1):
            stem, seed = f"sub-{s:02d}_run-{r}", 10 * s + r
            lines = ["onset\tduration\ttrial_type\ttext\tstimulus"]
            for i in range((volumes - 8) // 4):
                word = f"{words[i % 5]} {s}{r}{i}"
                lines.append(f"{8 * i}\t2\t{words[i % 5][:5].strip()}\t{word}\tst{s}{r}{i}")
            (root / f"{stem}_events.tsv").write_text("\n".join(lines) + "\n")
            if kind == "cifti":
                bold = f"{stem}.dtseries.nii"
                axis = brain_models()
                write_dtseries(root / bold, series(volumes, len(axis), seed), axis=axis)
            elif kind == "gifti":
                bold = f"{stem}_hemi-L_bold.func.gii"
                for side in "LR":
                    values = series(volumes, len(sphere()[0]), seed + ord(side))
                    values[:, :WALL] = 0
                    write_func(root / f"{stem}_hemi-{side}_bold.func.gii", values)
            else:
                bold = f"{stem}_timeseries.tsv"
                values = series(volumes, 12, seed)
                # every other person has the columns the other way round
                order = list(range(12))[:: 1 if s % 2 else -1]
                text = ["\t".join(f"parcel{i:02d}" for i in order)]
                text += ["\t".join(f"{row[i]:.4f}" for i in order) for row in values]
                (root / bold).write_text("\n".join(text) + "\n")
            rows.append(f"{s:02d}\t{r}\t{bold}\t{stem}_events.tsv\t{TR}")
    (root / "runs.tsv").write_text("\n".join(rows) + "\n")
    return root / "runs.tsv"

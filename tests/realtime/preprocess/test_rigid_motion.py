"""Six parameters, their matrix, and framewise displacement."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.realtime.preprocess import (
    framewise_displacement,
    rigid_matrix,
    rigid_parameters,
)

CENTRE = np.array([3.0, -5.0, 7.0])
ROUNDING = 1e-12


@pytest.mark.parametrize("axis", range(3))
def test_a_rotation_is_right_handed_and_keeps_the_centre(axis):
    parameters = np.zeros(6)
    parameters[3 + axis] = np.pi / 2
    matrix = rigid_matrix(parameters, CENTRE)
    one, two = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
    np.testing.assert_allclose(matrix[:3, :3] @ one, two, atol=ROUNDING)
    np.testing.assert_allclose(matrix[:3] @ [*CENTRE, 1], CENTRE, atol=ROUNDING)


def test_a_translation_moves_the_centre():
    matrix = rigid_matrix(np.array([1.0, 2.0, -3.0, 0.1, 0.2, -0.3]), CENTRE)
    moved = CENTRE + np.array([1, 2, -3])
    np.testing.assert_allclose(matrix[:3] @ [*CENTRE, 1], moved, atol=ROUNDING)


def test_rotations_equal_those_of_scipy():
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    angles = np.array([0.3, -0.2, 0.1])
    matrix = rigid_matrix(np.array([0.0, 0.0, 0.0, *angles]), np.zeros(3))
    wanted = rotation.from_euler("xyz", angles).as_matrix()
    np.testing.assert_allclose(matrix[:3, :3], wanted, atol=ROUNDING)


@pytest.mark.parametrize("seed", range(5))
def test_parameters_return(seed):
    given = np.random.default_rng(seed).uniform(-1, 1, 6) * [5, 5, 5, 1, 1, 1]
    found = rigid_parameters(rigid_matrix(given, CENTRE), CENTRE)
    np.testing.assert_allclose(found, given, atol=ROUNDING)


def test_displacement_is_that_of_power():
    one = np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0])
    other = np.array([0.0, 0.2, -0.3, 0.01, 0.0, -0.002])
    assert framewise_displacement(one, other) == pytest.approx(0.6 + 50 * 0.012)
    assert framewise_displacement(other, other) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rigid_matrix(np.zeros(5), CENTRE), "parameters must be finite"),
        (lambda: rigid_matrix(np.full(6, np.nan), CENTRE), "parameters must be finite"),
        (lambda: rigid_matrix(np.zeros(6), np.zeros(2)), "cent(re|er) must be finite"),
        (lambda: rigid_parameters(np.eye(3), CENTRE), "matrix must be finite"),
        (lambda: rigid_parameters(np.diag([1.1, 1, 1, 1]), CENTRE), "one that scales"),
        (lambda: rigid_parameters(np.diag([-1.0, 1, 1, 1]), CENTRE), "one that scales"),
        (lambda: framewise_displacement(np.zeros(6), np.zeros(7)), "other must be finite"),
    ],
)
def test_other_parameters_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()

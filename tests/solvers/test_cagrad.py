import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlgrad import reference
from mtlgrad.solvers import cagrad_residual, cagrad_weights, min_norm_weights, project_onto_dual_cone
from mtlgrad.solvers.pair import cagrad_pair
from tests.solvers.hard import NEARLY, Array, apart, lengths, nearly_stationary, stress, violation


@pytest.mark.parametrize("m", [2, 3, 5, 8, 16])
@pytest.mark.parametrize("c", [0.1, 0.5, 1.5])
def test_equals_the_printed_problem(m: int, c: float) -> None:
    jacobians = reference.families(m, 2 * m + 3, np.random.default_rng(m))
    for name in ("random", "imbalanced", "near_parallel"):
        jacobian = jacobians[name]
        direction = cagrad_weights(jacobian @ jacobian.T, c)[1] @ jacobian
        # What is left is the accuracy of the oracle: see mtlgrad.reference.
        assert apart(direction, reference.cagrad_direction(jacobian, c)) < 1e-7, name


@pytest.mark.parametrize("c", [0.01, 0.4, 1.0, 3.0])
def test_no_other_weights_do_better(c: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        m = int(rng.integers(2, 5))
        jacobian = rng.standard_normal((m, 6)) * 10.0 ** rng.uniform(-2, 2, (m, 1))
        mean = jacobian.mean(0)
        others = np.vstack(
            [rng.dirichlet(np.full(m, 0.3), 5000), np.eye(m), cagrad_weights(jacobian @ jacobian.T, c)[0]]
        )
        points = others @ jacobian
        values = points @ mean + c * np.linalg.norm(mean) * np.linalg.norm(points, axis=1)
        assert values[-1] <= values.min() + 1e-12 * np.abs(values).max()


@pytest.mark.parametrize("c", [1e-3, 0.4, 1.0, 2.0])
def test_certificate_on_hard_jacobians(c: float) -> None:
    for jacobian in stress(150, seed=2):
        gram = jacobian @ jacobian.T
        worst_case, direction = cagrad_weights(gram, c)
        assert np.isfinite(direction).all()
        assert cagrad_residual(gram, c, worst_case, direction) < 1e-9
        if c > 1.0:
            assert violation(jacobian, direction) < 1e-9


def test_undefined_cases_have_their_documented_answers() -> None:
    gram = np.array([[1.0, 0.3], [0.3, 4.0]])
    np.testing.assert_array_equal(cagrad_weights(gram, 0.0)[1], [0.5, 0.5])
    np.testing.assert_array_equal(cagrad_weights(gram, 0.0)[0], [1.0, 0.0])
    opposite = np.array([[1.0, -1.0], [-1.0, 1.0]])
    np.testing.assert_array_equal(cagrad_weights(opposite, 0.5)[1], [0.5, 0.5])  # g_0 = 0
    unequal = np.array([[1.0, -2.0], [-2.0, 4.0]])
    np.testing.assert_array_equal(cagrad_weights(unequal, 1.5)[1], [0.0, 0.0])  # g_w = 0, c >= 1
    third = np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 3.0]])  # 0 is in the hull and g_0 has a part that harms nobody
    worst_case, direction = cagrad_weights(third @ third.T, 0.9)
    nearest = project_onto_dual_cone(third @ third.T, np.full((1, 3), 1 / 3))[0]
    np.testing.assert_allclose(direction @ third, nearest @ third, atol=1e-12)
    np.testing.assert_allclose(worst_case @ third, 0.0, atol=1e-12)
    np.testing.assert_array_equal(cagrad_weights(np.zeros((3, 3)), 0.5)[1], np.full(3, 1 / 3))
    np.testing.assert_allclose(cagrad_weights(np.array([[4.0]]), 0.5)[1], [1.5])
    np.testing.assert_array_equal(cagrad_weights(opposite, 1.0)[1], [0.0, 0.0])  # g_0 = 0, c >= 1


def test_a_large_radius_gives_the_min_norm_direction() -> None:
    jacobian = np.random.default_rng(1).standard_normal((4, 9))
    gram = jacobian @ jacobian.T
    far, nearest = cagrad_weights(gram, 1e6)[1] @ jacobian, min_norm_weights(gram) @ jacobian
    assert apart(far / np.linalg.norm(far), nearest / np.linalg.norm(nearest)) < 1e-5


def test_residual_sees_each_broken_condition() -> None:
    gram = np.array([[1.0, 0.0], [0.0, 9.0]])
    worst_case, direction = cagrad_weights(gram, 0.5)
    assert cagrad_residual(gram, 0.5, worst_case[::-1], direction) > 0.01
    assert cagrad_residual(gram, 0.5, worst_case, np.array([0.5, 0.5])) > 0.01
    assert cagrad_residual(gram, 0.5, worst_case, np.array([2.0, 0.5])) > 0.01
    assert cagrad_residual(gram, 0.5, 2 * worst_case, direction) > 0.01


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(-18, 18), st.floats(0.05, 3.0))
@settings(max_examples=60, deadline=None)
def test_scale_and_permutation(seed: int, m: int, exponent: int, c: float) -> None:
    rng = np.random.default_rng(seed)
    jacobian = rng.standard_normal((m, m + 3))
    gram = jacobian @ jacobian.T
    weights = cagrad_weights(gram, c)[1]
    np.testing.assert_allclose(cagrad_weights(gram * 100.0**exponent, c)[1], weights, rtol=1e-7, atol=1e-7)
    order = rng.permutation(m)
    np.testing.assert_allclose(cagrad_weights(gram[np.ix_(order, order)], c)[1], weights[order], rtol=1e-7, atol=1e-7)


def check_promises(jacobian: Array, c: float, weights: Array) -> None:
    """d in the ball, and from c = 1 on not against any task: both up to what rounding of G leaves unknown of it."""
    norms, mean = lengths(jacobian), jacobian.mean(0)
    step, radius = np.linalg.norm(weights @ jacobian - mean), c * np.linalg.norm(mean)
    assert step <= radius * 1.01 + 1e-14 * norms.mean()
    if c >= 1.0:
        assert violation(jacobian, weights) <= 1e-8


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(NEARLY),
    st.sampled_from([2, 3, 4, 6, 10]),
    st.sampled_from([1, 2, 5, 50]),
    st.floats(-12.0, -3.0),
    st.sampled_from([0.1, 0.5, 0.9, 0.999, 1.0, 1.0000001, 1.5, 3.0]),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_promises_are_kept_next_to_stationary_points(
    seed: int, family: str, m: int, n: int, off: float, c: float, ill_scaled: bool
) -> None:
    rng = np.random.default_rng(seed)
    jacobian = nearly_stationary(family, m, n, 10.0**off, rng)
    if ill_scaled:
        jacobian = jacobian * 10.0 ** rng.uniform(-2, 2, (m, 1))
    gram = jacobian @ jacobian.T
    check_promises(jacobian, c, cagrad_weights(gram, c)[1])
    if m == 2:
        check_promises(jacobian, c, cagrad_pair(torch.from_numpy(gram), c).numpy())


@pytest.mark.parametrize("c", [1.0, 1.001, 1.5])
@pytest.mark.parametrize("off", [1e-3, 1e-6, 1e-7, 1e-9])
def test_a_mean_that_cannot_be_told_from_zero_conflicts_with_nobody(c: float, off: float) -> None:
    for rows in ([1.3, -0.4, -0.9], [1.0, -1.0]):
        jacobian = np.array(rows)[:, None] + off
        check_promises(jacobian, c, cagrad_weights(jacobian @ jacobian.T, c)[1])


@pytest.mark.parametrize("off", [1e-6, 1.1e-6, 1.2e-6, 1.3e-6, 2e-6])
def test_the_step_is_as_long_as_the_ball_is_wide_between_nearly_opposite_gradients(off: float) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 1000)) / np.sqrt(1000)
    many = np.outer([1.0, -2.0, 1.0, -2.0, 1.0, -2.0, 3.0, -1.0, 1.0, -1.0], first)
    for jacobian in (np.stack([first, -2 * first + off * second]), many + off * rng.standard_normal((10, 1000)) / 30):
        for c in (0.5, 1.5):
            check_promises(jacobian, c, cagrad_weights(jacobian @ jacobian.T, c)[1])


def test_residual_sees_a_step_out_of_the_ball_between_nearly_opposite_gradients() -> None:
    angle = 1e-6  # the weights that separate such gradients are of the order of 1e6
    jacobian = np.array([[1.0, 0.0], [-2.0 * np.cos(angle), 2.0 * np.sin(angle)]])
    gram = jacobian @ jacobian.T
    worst_case = np.array([2.0, 1.0]) / 3.0
    pull, radius = np.linalg.norm(worst_case @ jacobian), 1.5 * np.linalg.norm(jacobian.mean(0))
    for stretch in (1.5, 8.0):
        assert cagrad_residual(gram, 1.5, worst_case, 0.5 + stretch * radius / pull * worst_case) > 0.1

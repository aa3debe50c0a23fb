"""Many problems at once: each reaches its own minimum, whatever the others do."""

import torch

from ecg_transformers.evaluation.probes.lbfgs import minimize_many


def test_quadratic_problems_of_very_different_scale_reach_their_minima():
    generator = torch.Generator().manual_seed(0)
    roots = torch.randn(6, 8, 8, generator=generator, dtype=torch.float64)
    scale = torch.logspace(-3, 3, 6, dtype=torch.float64)
    curvature = (roots @ roots.transpose(1, 2) + 0.1 * torch.eye(8, dtype=torch.float64)) * scale[:, None, None]
    optimum = torch.randn(6, 8, generator=generator, dtype=torch.float64)

    def function(point):
        slope = torch.einsum("pij,pj->pi", curvature, point - optimum)
        return 1.0 + 0.5 * (slope * (point - optimum)).sum(dim=1), slope

    found = minimize_many(function, torch.zeros(6, 8, dtype=torch.float64), tolerance=1e-14)
    torch.testing.assert_close(found, optimum, atol=1e-4, rtol=1e-4)


def test_a_problem_at_its_minimum_stays_there():
    def function(point):
        return point.square().sum(dim=1), 2 * point

    start = torch.tensor([[0.0, 0.0], [3.0, -1.0]])
    found = minimize_many(function, start)
    torch.testing.assert_close(found, torch.zeros(2, 2), atol=1e-4, rtol=0)
    assert torch.equal(start, torch.tensor([[0.0, 0.0], [3.0, -1.0]]))


def test_a_separable_penalised_problem_with_huge_first_step_does_not_diverge():
    features = torch.tensor([[-1.0], [1.0], [1000.0]])
    labels = torch.tensor([[0.0], [1.0], [1.0]])

    def function(point):
        logits = features @ point.T
        values = (torch.nn.functional.softplus(logits) - labels * logits).mean(0) + 0.5 * 1e-3 * point.square().sum(1)
        return values, ((logits.sigmoid() - labels).T @ features) / 3 + 1e-3 * point

    found = minimize_many(function, torch.full((1, 1), -5.0), tolerance=1e-9)
    assert function(found)[1].abs().max() < 1e-3
    assert found.item() > 3

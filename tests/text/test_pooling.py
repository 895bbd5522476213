from __future__ import annotations

import torch

from relgnn.text.pooling import group_logsumexp, range_max


def test_range_max_is_the_maximum_and_has_its_gradient(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(37, 5, generator=generator, dtype=torch.double).to(device)
    states.requires_grad_()
    start = torch.randint(0, 38, (200,), generator=generator)
    end = (start + torch.randint(0, 38, (200,), generator=generator)).clamp(max=37)
    start[0], end[0] = 0, 37
    found = range_max(states, start.to(device), end.to(device))
    slow = torch.stack([
        states[a:b].amax(0) if b > a else states.new_zeros(5)
        for a, b in zip(start.tolist(), end.tolist(), strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(found, slow, rtol=0, atol=0)
    grads = [torch.autograd.grad((x**3).sum(), states, retain_graph=True)[0] for x in (found, slow)]
    torch.testing.assert_close(*grads)


def test_range_max_of_no_ranges() -> None:
    none = torch.zeros(0, dtype=torch.long)
    assert range_max(torch.ones(4, 3), none, none).shape == (0, 3)


def test_group_logsumexp_is_torchs(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = (100 * torch.randn(40, 3, generator=generator, dtype=torch.double)).to(device)
    scores.requires_grad_()
    group = torch.randint(0, 6, (40,), generator=generator).to(device)
    group[group == 4] = 5
    found = group_logsumexp(scores, group, 6)
    assert torch.isinf(found[4]).all()
    kept = [0, 1, 2, 3, 5]
    slow = torch.stack([scores[group == i].logsumexp(0) for i in kept])
    torch.testing.assert_close(found[kept], slow)
    first, second = (
        torch.autograd.grad(x.square().sum(), scores, retain_graph=True)[0]
        for x in (found[kept], slow)
    )
    torch.testing.assert_close(first, second)

"""Muon (K. Jordan, 2024): momentum whose singular values are all made about one, for matrices."""
import collections

import torch


def orthogonal(g):
    """Newton-Schulz: pulls the singular values of a stack of wide matrices towards one, in bf16."""
    x = (g / (g.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)).bfloat16()
    for _ in range(5):
        a = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.float()


class Muon(torch.optim.Optimizer):
    """The step has the size of an AdamW step of the same rate: root mean square 0.2 lr."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.05):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            stacks = collections.defaultdict(list)
            for p in group["params"]:
                stacks[min(p.shape), max(p.shape)].append(p)
            for parameters in stacks.values():
                self.update(parameters, group)

    def update(self, parameters, group):
        """One step of matrices of the same shape, or its transpose."""
        wide = []
        for p in parameters:
            state = self.state[p]
            m = state.setdefault("momentum", torch.zeros_like(p))
            m.lerp_(p.grad, 1 - group["momentum"])
            g = p.grad.lerp(m, group["momentum"])
            wide.append(g if p.shape[0] <= p.shape[1] else g.T)
        for p, o in zip(parameters, orthogonal(torch.stack(wide))):
            o = o if p.shape[0] <= p.shape[1] else o.T
            p.mul_(1 - group["lr"] * group["weight_decay"]).add_(o, alpha=-0.2 * max(p.shape) ** 0.5 * group["lr"])

"""What the trainings of a whole base share: its optimisers and their command line."""

import torch


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz iterations, for 2-D hidden matrices (Jordan et al., 2024)."""

    def __init__(self, params, pool, lr=0.02, momentum=0.95, weight_decay=0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.pool = pool

    def step(self):
        for group in self.param_groups:
            list(self.pool.map(lambda p: self.update(p, group), group["params"]))

    @torch.no_grad()
    def update(self, p, group):
        buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
        buffer.lerp_(p.grad, 1 - group["momentum"])
        update = orthogonalise(p.grad.lerp(buffer, group["momentum"]))
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(update, alpha=-group["lr"] * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def orthogonalise(g, steps=5):
    """Nearest semi-orthogonal matrix of g [m, n] by the quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.t() if g.shape[0] > g.shape[1] else g
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        s = x @ x.t()
        x = a * x + (b * s + c * s @ s) @ x
    return x.t() if g.shape[0] > g.shape[1] else x


def make_optimizers(model, lr_muon, lr_adam, pool):
    hidden = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    return [Muon(hidden, pool, lr=lr_muon), torch.optim.AdamW(rest, lr=lr_adam, betas=(0.9, 0.98), weight_decay=0.0)]


class ScheduledOptimizers:
    """Optimisers that step at a factor of the rates they were made with."""

    def __init__(self, optimizers):
        self.optimizers = optimizers
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]

    def step(self, factor):
        for optimizer, peaks in zip(self.optimizers, self.peaks):
            for group, peak in zip(optimizer.param_groups, peaks):
                group["lr"] = peak * factor
            optimizer.step()

    def state_dict(self):
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states):
        for optimizer, state in zip(self.optimizers, states):
            optimizer.load_state_dict(state)


def add_arguments(parser, steps, lr_muon, lr_adam, show):
    """Options of a training, with its own defaults."""
    parser.add_argument("--checkpoint", help="file to resume from and save to")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--lr-muon", type=float, default=lr_muon)
    parser.add_argument("--lr-adam", type=float, default=lr_adam)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="sequences, or parts of a batch, at a time")
    parser.add_argument("--show", type=int, default=show, help="steps per line of progress")
    parser.add_argument("--save-every", type=int, default=50)


def start(train, parser, argv):
    """train(arguments): kernels on one thread, as several sequences at a time are faster at this model size."""
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    train(args)

"""Training loops as people write them: each builds its parts, and returns one step as a function.

Its attribute ``modules`` has the modules.
"""

import itertools

import asks_for_torch  # noqa: F401
import torch
from torch import nn
from torch.nn import functional


def mlp(*widths, activation=nn.Tanh):
    layers = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def gan():
    """A generator and a discriminator, each with its optimizer."""
    G, D = mlp(16, 64, 96), mlp(96, 64, 1)
    og, od = torch.optim.Adam(G.parameters()), torch.optim.Adam(D.parameters())
    bce, real = nn.BCEWithLogitsLoss(), torch.randn(128, 96)

    def step():
        fake = G(torch.randn(128, 16))
        od.zero_grad()
        ones, zeros = torch.ones(128, 1), torch.zeros(128, 1)
        loss = bce(D(real), ones) + bce(D(fake.detach()), zeros)
        loss.backward()
        od.step()
        og.zero_grad()
        loss = bce(D(fake), ones)
        loss.backward()
        og.step()

    step.modules = [G, D]
    return step


def wgan_gp():
    """A critic whose gradient is penalised, so that backward is differentiated."""
    G, C = mlp(16, 64, 96), mlp(96, 64, 1)
    optimizer, real = torch.optim.Adam(C.parameters()), torch.randn(128, 96)

    def step():
        with torch.no_grad():
            fake = G(torch.randn(128, 16))
        share = torch.rand(128, 1)
        between = (share * real + (1 - share) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(C(between).sum(), between, create_graph=True)
        penalty = ((gradient.norm(dim=1) - 1) ** 2).mean()
        loss = C(fake).mean() - C(real).mean() + 10 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step.modules = [G, C]
    return step


def maml():
    """Steps within a step, through which the outer one is differentiated."""
    model = mlp(8, 64, 1)
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(4, 64, 8), torch.randn(4, 64, 1)

    def step():
        optimizer.zero_grad()
        for task in range(4):
            weights = dict(model.named_parameters())
            for _ in range(2):
                output = torch.func.functional_call(model, weights, (x[task],))
                loss = functional.mse_loss(output, y[task])
                gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
                pairs = zip(weights.items(), gradients, strict=True)
                weights = {name: weight - 0.01 * grad for (name, weight), grad in pairs}
            output = torch.func.functional_call(model, weights, (x[task],))
            functional.mse_loss(output, y[task]).backward()
        optimizer.step()

    step.modules = [model]
    return step


def lbfgs():
    """An optimizer that calls the closure with forward and backward itself."""
    model = mlp(16, 64, 4)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    x, y = torch.randn(128, 16), torch.randn(128, 4)

    def closure():
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    def step():
        optimizer.step(closure)

    step.modules = [model]
    return step


def accumulation():
    """Four batches of different sizes, a scaler, clipping."""
    model = mlp(32, 128, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    scaler = torch.amp.GradScaler("cpu")
    batches = [(torch.randn(n, 32), torch.randint(8, (n,))) for n in (64, 32, 128, 96)]

    def step():
        for x, y in batches:
            loss = functional.cross_entropy(model(x), y) / len(batches)
            scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    step.modules = [model]
    return step


def distillation():
    """A teacher without gradients, a student with them."""
    teacher, student = mlp(32, 256, 10), mlp(32, 64, 10)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(128, 32)

    def step():
        with torch.no_grad():
            soft = functional.softmax(teacher(x) / 2, dim=1)
        hard = functional.log_softmax(student(x) / 2, dim=1)
        loss = functional.kl_div(hard, soft, reduction="batchmean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step.modules = [teacher, student]
    return step


def kept_losses():
    """Losses that are collected with their graphs: a leak."""
    model = mlp(16, 64, 64, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, losses = torch.randn(256, 16), []

    def step():
        loss = model(x).square().mean()
        losses.append(loss)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step.modules = [model]
    return step


def carried_state():
    """A recurrent network whose state goes on to the next step, graph and all: a leak."""
    cell, head = nn.GRUCell(8, 32), nn.Linear(32, 8)
    optimizer = torch.optim.SGD([*cell.parameters(), *head.parameters()], lr=0.1)
    x, held = torch.randn(64, 8), [torch.zeros(64, 32)]

    def step():
        state = cell(x, held.pop())
        held.append(state)
        head(state).square().mean().backward(retain_graph=True)
        # An optimizer that steps here would change what the graph of the next step reads.
        optimizer.zero_grad()

    step.modules = [cell, head]
    return step


LOOPS = {
    loop.__name__: loop
    for loop in (
        *(gan, wgan_gp, maml, lbfgs, accumulation, distillation),
        *(kept_losses, carried_state),
    )
}
LEAKS = ("kept_losses", "carried_state")


def build(name):
    """The step of a loop, seeded."""
    torch.manual_seed(0)
    return LOOPS[name]()

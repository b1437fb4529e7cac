"""Makes autograd.txt, the known answers of PyTorch 2.15.0's autograd in float64 for `autograd.rs`:

    pip install numpy torch==2.15.0 && python tests/proof/autograd.py > tests/proof/autograd.txt

A line is a case, what it has, and numbers. The inputs are rounded to f32, and computed with in f64.
"""

import torch
from torch.nn import functional as F

torch.manual_seed(24)
ROWS, COLS, EPS, GROUP = 5, 12, 1e-5, 4


def numbers(*shape, scale=1.0, offset=0.0):
    values = torch.randn(*shape, dtype=torch.float32) * scale + offset
    return values.to(torch.float64).requires_grad_()


def line(case, what, values):
    print(case, what, *(f"{number:.9g}" for number in values.detach().flatten().tolist()))


x, dy, z, dsum = numbers(ROWS, COLS, offset=0.5), numbers(ROWS, COLS), numbers(ROWS, COLS, scale=2.0), numbers(ROWS, COLS)
gamma, beta = numbers(COLS), numbers(COLS)
for name, values in [("x", x), ("dy", dy), ("z", z), ("dsum", dsum), ("gamma", gamma), ("beta", beta)]:
    line("input", name, values)


def gradients(case, y, inputs):
    """The gradients of the sum of y * dy by the inputs that y depends on."""
    found = torch.autograd.grad((y * dy).sum(), list(inputs.values()), allow_unused=True)
    for what, gradient in zip(inputs, found):
        if gradient is not None:
            line(case, what, gradient)


inputs = {"dx": x, "dgamma": gamma, "dbeta": beta, "dz": z}


def layer_norm(x):
    return F.layer_norm(x, (COLS,), gamma, beta, EPS)


def rms_norm(x, gamma=gamma):
    return F.rms_norm(x, (COLS,), gamma, EPS)


def groups(x):
    parts = x.view(ROWS, COLS // GROUP, GROUP)
    return F.rms_norm(parts, (GROUP,), None, EPS).reshape(ROWS, COLS) * gamma


gradients("layer_norm", layer_norm(x), inputs)
gradients("rms_norm", rms_norm(x), inputs)
gradients("one_plus_gamma", rms_norm(x, 1 + gamma), inputs)
gradients("groups", groups(x), inputs)
for name, function in [("silu", F.silu), ("sigmoid", torch.sigmoid)]:
    gradients(f"layer_norm_{name}_after", layer_norm(x) * function(z), inputs)
    gradients(f"layer_norm_{name}_before", layer_norm(x * function(z)), inputs)
    gradients(f"rms_norm_{name}_after", rms_norm(x) * function(z), inputs)
    gradients(f"rms_norm_{name}_before", rms_norm(x * function(z)), inputs)
    gradients(f"groups_{name}_before", groups(x * function(z)), inputs)
# The sum is given on, too: its gradient is dsum.
found = torch.autograd.grad((layer_norm(x) * dy).sum() + (x * dsum).sum(), [x])
line("layer_norm_dsum", "dx", found[0])

# Channels: two samples of three channels at ten positions, NCHW. The numbers are those of x.
x4, dy4 = x.detach().view(2, 3, 10).requires_grad_(), dy.detach().view(2, 3, 10)
gamma4, beta4 = gamma.detach()[:3].requires_grad_(), beta.detach()[:3].requires_grad_()
mean4, var4 = torch.tensor([0.25, -0.5, 1.0], dtype=torch.float64), torch.tensor([1.5, 0.5, 2.0], dtype=torch.float64)


def channels(case, y):
    for what, gradient in zip(["dx", "dgamma", "dbeta"], torch.autograd.grad((y * dy4).sum(), [x4, gamma4, beta4])):
        line(case, what, gradient)


channels("batch_norm", F.batch_norm(x4, None, None, gamma4, beta4, True, 0.1, EPS))
channels("batch_norm_running", F.batch_norm(x4, mean4, var4, gamma4, beta4, False, 0.1, EPS))
channels("group_norm", F.group_norm(x4, 1, gamma4, beta4, EPS))
channels("instance_norm", F.instance_norm(x4, None, None, gamma4, beta4, True, 0.1, EPS))
channels("layer_norm_channels", F.layer_norm(x4.transpose(1, 2), (3,), gamma4, beta4, EPS).transpose(1, 2))

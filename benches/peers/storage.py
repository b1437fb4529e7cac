"""The comparison of norms whose elements, gamma and beta are stored as bf16 or f16."""

import copy

import numpy as np
import torch

# The type, and half an ulp: the most that rounding changes a number by, relative to it.
TYPES = {"bf16": (torch.bfloat16, 2.0**-8), "f16": (torch.float16, 2.0**-11)}
# The part of f32 in the error of an output, and of dx.
OUTPUT, GRADIENT = 1e-6, 7e-6


class Stored:
    """What a comparison reads and writes, stored as a type; `numbers` is the same widened."""

    def __init__(self, library, data, name):
        self.dtype, self.code = TYPES[name][0], getattr(library, name.upper())
        self.numbers = copy.copy(data)
        for member in ("x", "dy", "gamma", "beta"):
            tensor = torch.from_numpy(getattr(data, member)).to(self.dtype)
            setattr(self, member, tensor)
            setattr(self.numbers, member, tensor.float().numpy())
        self.y, self.dx = torch.empty_like(self.x), torch.empty_like(self.x)

    def buffer(self, member):
        """A member as the library takes it."""
        return getattr(self, member).view(torch.int16).numpy(), self.code

    def error(self, of, tensor, **options):
        """NaN where the type does not hold x: f16 ends at 65504."""
        if not np.isfinite(self.numbers.x).all():
            return float("nan")
        return getattr(self.numbers, of)(tensor.double().numpy(), **options)


def layer_norm(name, eps):
    def operation(library, data, execution, threads):
        d, out = Stored(library, data, name), {}
        ours = library.prepare(
            "layer_norm", x=d.buffer("x"), y=d.buffer("y"), shape=data.shape, gamma=d.buffer("gamma"),
            beta=d.buffer("beta"), eps=eps, execution=execution,
        )  # fmt: skip

        def peer():
            out["y"] = torch.nn.functional.layer_norm(d.x, (data.cols,), d.gamma, d.beta, eps)

        return {
            "evenkeel": (ours, lambda: d.error("output_error", d.y, axis=1)),
            "PyTorch": (peer, lambda: d.error("output_error", out["y"], axis=1)),
        }

    return operation


def rms_norm(name, eps):
    def operation(library, data, execution, threads):
        d, out = Stored(library, data, name), {}
        ours = library.prepare(
            "rms_norm", x=d.buffer("x"), y=d.buffer("y"), shape=data.shape, gamma=d.buffer("gamma"), eps=eps,
            execution=execution,
        )  # fmt: skip

        def peer():
            out["y"] = torch.nn.functional.rms_norm(d.x, (data.cols,), d.gamma, eps)

        options = dict(axis=1, beta=False, mean_of_squares=True)
        return {
            "evenkeel": (ours, lambda: d.error("output_error", d.y, **options)),
            "PyTorch": (peer, lambda: d.error("output_error", out["y"], **options)),
        }

    return operation


def layer_norm_backward(name, eps):
    """dx, dgamma and dbeta, from statistics that the forward pass kept. Our dgamma and dbeta are f32."""

    def operation(library, data, execution, threads):
        d, out = Stored(library, data, name), {}
        mean, rstd = np.zeros((2, data.rows))
        x = dict(x=d.buffer("x"), shape=data.shape, eps=eps, execution=execution)
        library.prepare("layer_norm", **x, y=d.buffer("y"), mean=mean, rstd=rstd)()
        shared = dict(
            **x, dy=d.buffer("dy"), dx=d.buffer("dx"), gamma=d.buffer("gamma"), mean=mean, rstd=rstd,
            dgamma=data.dgamma, dbeta=data.dbeta,
        )  # fmt: skip
        scratch = library.scratch("norm_backward", "norm_backward", **shared)
        ours = library.prepare("layer_norm_backward", "norm_backward", **shared, scratch=scratch)
        _, their_mean, their_rstd = torch.ops.aten.native_layer_norm(d.x, [data.cols], d.gamma, d.beta, eps)

        def peer():
            out["dx"], _, _ = torch.ops.aten.native_layer_norm_backward(
                d.dy, d.x, [data.cols], their_mean, their_rstd, d.gamma, d.beta, [True, True, True]
            )

        return {
            "evenkeel": (ours, lambda: d.error("gradient_error", d.dx)),
            "PyTorch": (peer, lambda: d.error("gradient_error", out["dx"])),
        }

    return operation


def operations(eps):
    """Each with the error that is promised: half an ulp, and that of f32."""
    norms = {
        "LayerNorm": (layer_norm, OUTPUT),
        "RmsNorm": (rms_norm, OUTPUT),
        "LayerNorm backward": (layer_norm_backward, GRADIENT),
    }
    return {
        f"{norm}, {name}": (make(name, eps), half_ulp * (1 + error) + error)
        for norm, (make, error) in norms.items()
        for name, (_, half_ulp) in TYPES.items()
    }

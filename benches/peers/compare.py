#!/usr/bin/env python3
"""evenkeel beside PyTorch, ONNX Runtime and oneDNN: the same buffers, one process, turn by turn.

    python3 -m venv target/venv && target/venv/bin/pip install numpy onnx onnxruntime torch
    cargo rustc --release --lib --features capi --crate-type cdylib
    target/venv/bin/python benches/peers/compare.py [--library FILE] [--seconds S] [--shape ROWSxCOLS]... [--threads N]...

oneDNN's LayerNorm takes part with --onednn FILE and one thread. The package onednn-cpu-gomp has that file, libdnnl.so.3.

First the outputs: every contender's error against a float64 reference, on data whose mean / std is 0, 1e4 and 1e6. The largest
error of evenkeel is checked against its promise; a peer's is printed. Norms of bf16 and f16 are beside float64 of their rounded data. Then the times: median of the samples, in microseconds.

What is unfair: PyTorch allocates its output in every call. glibc is told to keep the memory (MALLOC_MMAP_THRESHOLD_ and
MALLOC_TRIM_THRESHOLD_), so that this is not a page fault for each page. Both peers go through their dispatcher, and PyTorch
through Python; evenkeel goes through ctypes. All that counts at small shapes.
"""

import argparse
import os
import sys

from library import KEEP, Library, aligned, medians, start_with

# oneDNN has the threads of OpenMP that it finds when it is loaded; PyTorch is told otherwise below.
start_with(**KEEP, OMP_NUM_THREADS="1") if "--onednn" in sys.argv else start_with(**KEEP)

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import storage  # noqa: E402
import torch  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402
from onednn import OneDnn  # noqa: E402

EPS = 1e-5
P = 0.1
MEANS = [0.0, 1e4, 1e6]
# Of an output, as a part of |gamma| * max(1, |x_hat|) + |beta|; of a variance, relative.
PROMISE = 1e-6
# Of dx, as a part of rstd * max|g| * (1 + |x_hat|).
PROMISES = {
    "LayerNorm backward": 7e-6,
    "RmsNorm forward + backward": 4e-6,
    "BatchNorm backward": 7e-6,
    "GroupNorm backward": 7e-6,
    "dropout + residual + LayerNorm backward": 7e-6,
}
# Of GroupNorm: channels of a group.
GROUPED = 8


MOMENTS = np.dtype([("count", "u8"), ("mean", "f8"), ("mean_low", "f8"), ("m2", "f8")])


def onnx_session(nodes, names, x, y_name, initializers, threads):
    """A session on one input, with its output bound to memory that exists."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(y_name, TensorProto.FLOAT, x.shape)],
        [onnx.numpy_helper.from_array(value, name) for name, value in zip(names, initializers)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait busily for the next call would take the cores from whoever is timed next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    y = aligned(x.size, np.float32).reshape(x.shape)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_output(y_name, "cpu", 0, np.float32, x.shape, y.ctypes.data)
    return (lambda: session.run_with_iobinding(binding)), y


class Data:
    def __init__(self, rows, cols, mean=0.0):
        random = np.random.default_rng(rows * 1_000_003 + cols)
        self.rows, self.cols, self.shape = rows, cols, (rows, cols)
        self.x = aligned(rows * cols, np.float32).reshape(self.shape)
        self.x[:] = random.standard_normal(self.shape, np.float32) + np.float32(mean)
        self.gamma = (1 + 0.1 * random.standard_normal(cols)).astype(np.float32)
        self.beta = (0.1 * random.standard_normal(cols)).astype(np.float32)
        self.y = aligned(rows * cols, np.float32).reshape(self.shape)
        self.dx, self.dy = (aligned(rows * cols, np.float32).reshape(self.shape) for _ in range(2))
        self.dy[:] = random.standard_normal(self.shape, np.float32)
        self.dgamma, self.dbeta = np.zeros((2, cols), np.float32)

    def output_error(self, y, axis, beta=True, mean_of_squares=False):
        x, gamma = self.x.astype(np.float64), self.gamma.astype(np.float64)
        mean = 0.0 if mean_of_squares else x.mean(axis, keepdims=True)
        x_hat = (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis, keepdims=True) + EPS)
        shift = self.beta.astype(np.float64) if beta else 0.0
        scale = np.abs(gamma) * np.maximum(1, np.abs(x_hat)) + np.abs(shift)
        return float((np.abs(y - (x_hat * gamma + shift)) / scale).max())

    def gradient_error(self, dx, mean_of_squares=False):
        x, g = self.x.astype(np.float64), self.dy.astype(np.float64) * self.gamma
        mean = 0.0 if mean_of_squares else x.mean(1, keepdims=True)
        rstd = 1 / np.sqrt(((x - mean) ** 2).mean(1, keepdims=True) + EPS)
        x_hat = (x - mean) * rstd
        mean_g = 0.0 if mean_of_squares else g.mean(1, keepdims=True)
        expected = rstd * (g - mean_g - x_hat * (g * x_hat).mean(1, keepdims=True))
        scale = rstd * np.abs(g).max(1, keepdims=True) * (1 + np.abs(x_hat))
        return float((np.abs(dx - expected) / scale).max())

    def column_gradient_error(self, dx):
        x, g = self.x.astype(np.float64), self.dy.astype(np.float64) * self.gamma
        mean = x.mean(0)
        rstd = 1 / np.sqrt(((x - mean) ** 2).mean(0) + EPS)
        x_hat = (x - mean) * rstd
        expected = rstd * (g - g.mean(0) - x_hat * (g * x_hat).mean(0))
        scale = rstd * np.abs(g).max(0) * (1 + np.abs(x_hat))
        return float((np.abs(dx - expected) / scale).max())

    def variance_error(self, var, axis):
        return float(np.abs(var / self.x.astype(np.float64).var(axis) - 1).max())


# Every operation: its contenders as {name: (run, error)}, where error() is that of the last run, or None.


def layer_norm(library, data, execution, threads):
    d = data
    ours = library.prepare(
        "layer_norm", x=d.x, y=d.y, shape=d.shape, gamma=d.gamma, beta=d.beta, eps=EPS, execution=execution
    )
    x, w, b = map(torch.from_numpy, (d.x, d.gamma, d.beta))
    out = {}

    def peer():
        out["y"] = torch.nn.functional.layer_norm(x, (d.cols,), w, b, EPS)

    node = helper.make_node("LayerNormalization", ["x", "w", "b"], ["y"], axis=-1, epsilon=EPS)
    ort, ort_y = onnx_session([node], ["w", "b"], d.x, "y", [d.gamma, d.beta], threads)
    contenders = {
        "evenkeel": (ours, lambda: d.output_error(d.y, 1)),
        "PyTorch": (peer, lambda: d.output_error(out["y"].numpy(), 1)),
        "ONNX Runtime": (ort, lambda: d.output_error(ort_y, 1)),
    }
    if library.onednn and threads == 1:
        dnn = library.onednn.layer_norm(d.x, d.dx, d.gamma, d.beta, EPS)
        contenders["oneDNN"] = (dnn, lambda: d.output_error(d.dx, 1))
    return contenders


def rms_norm(library, data, execution, threads):
    d = data
    ours = library.prepare("rms_norm", x=d.x, y=d.y, shape=d.shape, gamma=d.gamma, eps=EPS, execution=execution)
    x, w = map(torch.from_numpy, (d.x, d.gamma))
    out = {}

    def peer():
        out["y"] = torch.nn.functional.rms_norm(x, (d.cols,), w, EPS)

    node = helper.make_node("SimplifiedLayerNormalization", ["x", "w"], ["y"], axis=-1, epsilon=EPS)
    ort, ort_y = onnx_session([node], ["w"], d.x, "y", [d.gamma], threads)
    error = lambda y: d.output_error(y, 1, beta=False, mean_of_squares=True)  # noqa: E731
    return {
        "evenkeel": (ours, lambda: error(d.y)),
        "PyTorch": (peer, lambda: error(out["y"].numpy())),
        "ONNX Runtime": (ort, lambda: error(ort_y)),
    }


def layer_norm_backward(library, data, execution, threads):
    """dx, dgamma and dbeta, from statistics that the forward pass kept."""
    d = data
    mean, rstd = np.zeros((2, d.rows))
    library.prepare("layer_norm", x=d.x, y=d.y, shape=d.shape, mean=mean, rstd=rstd, eps=EPS, execution=execution)()
    shared = dict(
        dy=d.dy, dx=d.dx, x=d.x, shape=d.shape, gamma=d.gamma, mean=mean, rstd=rstd, dgamma=d.dgamma, dbeta=d.dbeta,
        eps=EPS, execution=execution,
    )  # fmt: skip
    scratch = library.scratch("norm_backward", "norm_backward", **shared)
    ours = library.prepare("layer_norm_backward", "norm_backward", **shared, scratch=scratch)
    x, dy, w, b = map(torch.from_numpy, (d.x, d.dy, d.gamma, d.beta))
    _, their_mean, their_rstd = torch.ops.aten.native_layer_norm(x, [d.cols], w, b, EPS)
    out = {}

    def peer():
        out["dx"], _, _ = torch.ops.aten.native_layer_norm_backward(
            dy, x, [d.cols], their_mean, their_rstd, w, b, [True, True, True]
        )

    return {
        "evenkeel": (ours, lambda: d.gradient_error(d.dx)),
        "PyTorch": (peer, lambda: d.gradient_error(out["dx"].numpy())),
    }


def batch_norm_backward(library, data, execution, threads):
    """dx, dgamma and dbeta of the columns, from batch statistics that the forward pass kept."""
    d = data
    mean, rstd = np.zeros((2, d.cols))
    library.prepare(
        "batch_norm_training", x=d.x, y=d.y, shape=d.shape, mean=mean, rstd=rstd, eps=EPS, execution=execution,
        momentum_rule=library.MOMENTUM_KEEP, momentum=0.9,
    )()  # fmt: skip
    shared = dict(
        dy=d.dy, dx=d.dx, x=d.x, shape=d.shape, gamma=d.gamma, mean=mean, rstd=rstd, dgamma=d.dgamma, dbeta=d.dbeta,
        eps=EPS, execution=execution,
    )  # fmt: skip
    ours = library.prepare("batch_norm_backward", "channels_backward", **shared)
    x, dy, w, b = map(torch.from_numpy, (d.x, d.dy, d.gamma, d.beta))
    their_mean, their_var, out = torch.zeros(d.cols), torch.ones(d.cols), {}
    _, saved_mean, saved_rstd = torch.ops.aten.native_batch_norm(x, w, b, their_mean, their_var, True, 0.1, EPS)

    def peer():
        out["dx"], _, _ = torch.ops.aten.native_batch_norm_backward(
            dy, x, w, their_mean, their_var, saved_mean, saved_rstd, True, EPS, [True, True, True]
        )

    return {
        "evenkeel": (ours, lambda: d.column_gradient_error(d.dx)),
        "PyTorch": (peer, lambda: d.column_gradient_error(out["dx"].numpy())),
    }


def group_norm_backward(library, data, execution, threads):
    """dx, dgamma and dbeta of one sample, whose channels are the rows; eight channels are a group."""
    d = data
    groups = d.rows // GROUPED
    gamma = (1 + 0.1 * np.random.default_rng(5).standard_normal(d.rows)).astype(np.float32)
    dgamma, dbeta = np.zeros((2, d.rows), np.float32)
    shape = library.channels_first(1, d.rows, d.cols)
    mean, rstd = np.zeros((2, groups))
    library.prepare(
        "group_norm", x=d.x, y=d.y, shape=shape, groups=groups, mean=mean, rstd=rstd, eps=EPS, execution=execution
    )()
    ours = library.prepare(
        "group_norm_backward", "channels_backward", dy=d.dy, dx=d.dx, x=d.x, shape=shape, groups=groups, gamma=gamma,
        mean=mean, rstd=rstd, dgamma=dgamma, dbeta=dbeta, eps=EPS, execution=execution,
    )  # fmt: skip
    x, dy = (torch.from_numpy(a).reshape(1, d.rows, d.cols) for a in (d.x, d.dy))
    w, b, out = torch.from_numpy(gamma), torch.zeros(d.rows), {}
    _, saved_mean, saved_rstd = torch.ops.aten.native_group_norm(x, w, b, 1, d.rows, d.cols, groups, EPS)

    def peer():
        out["dx"], _, _ = torch.ops.aten.native_group_norm_backward(
            dy, x, saved_mean, saved_rstd, w, 1, d.rows, d.cols, groups, [True, True, True]
        )

    def error(dx):
        of_groups = (groups, GROUPED * d.cols)
        x, g = d.x.astype(np.float64), d.dy.astype(np.float64) * gamma[:, None]
        x, g, dx = (a.reshape(of_groups) for a in (x, g, dx))
        mean = x.mean(1, keepdims=True)
        rstd = 1 / np.sqrt(((x - mean) ** 2).mean(1, keepdims=True) + EPS)
        x_hat = (x - mean) * rstd
        expected = rstd * (g - g.mean(1, keepdims=True) - x_hat * (g * x_hat).mean(1, keepdims=True))
        scale = rstd * np.abs(g).max(1, keepdims=True) * (1 + np.abs(x_hat))
        return float((np.abs(dx - expected) / scale).max())

    return {"evenkeel": (ours, lambda: error(d.dx)), "PyTorch": (peer, lambda: error(out["dx"].numpy()))}


def dropped_layer_norm(library, data, execution, threads):
    """y = norm(residual + dropout(x)). Each is checked with the mask that it drew, which its sum shows."""
    d = data
    residual, total = (aligned(d.x.size, np.float32).reshape(d.shape) for _ in range(2))
    residual[:] = np.random.default_rng(3).standard_normal(d.shape, np.float32)
    mean, rstd = np.zeros((2, d.rows))
    ours = library.prepare(
        "layer_norm", x=d.x, y=d.y, shape=d.shape, gamma=d.gamma, beta=d.beta, residual=residual, sum=total, mean=mean,
        rstd=rstd, dropout_p=P, dropout_seed=7, eps=EPS, execution=execution,
    )  # fmt: skip
    x, r, w, b = map(torch.from_numpy, (d.x, residual, d.gamma, d.beta))
    out = {}

    def peer():
        dropped, out["mask"] = torch.native_dropout(x, P, True)
        out["sum"] = dropped + r
        out["y"], _, _ = torch.ops.aten.native_layer_norm(out["sum"], [d.cols], w, b, EPS)

    def error(y, total):
        of_sum = Data.__new__(Data)
        of_sum.x, of_sum.gamma, of_sum.beta = total, d.gamma, d.beta
        deviations = abs((total == residual).mean() - P) / np.sqrt(P * (1 - P) / total.size)
        assert deviations < 5, f"{deviations} deviations off p"
        return of_sum.output_error(y, 1)

    return {
        "evenkeel": (ours, lambda: error(d.y, total)),
        "PyTorch": (peer, lambda: error(out["y"].numpy(), out["sum"].numpy())),
    }


def dropped_layer_norm_backward(library, data, execution, threads):
    """From dy: the gradients of the residual, of x, of its bias, and of gamma and beta. PyTorch is given our mask."""
    d = data
    mean, rstd = np.zeros((2, d.rows))
    bits = np.zeros((d.x.size + 7) // 8, np.uint8)
    library.prepare("dropout_mask", mask=(bits, library.BITS), count=d.x.size, p=P, seed=7, execution=execution)()
    library.prepare("layer_norm", x=d.x, y=d.y, shape=d.shape, mean=mean, rstd=rstd, eps=EPS, execution=execution)()
    dresidual, dbias = aligned(d.x.size, np.float32).reshape(d.shape), np.zeros(d.cols, np.float32)
    shared = dict(
        dy=d.dy, dx=d.dx, x=d.x, shape=d.shape, gamma=d.gamma, mean=mean, rstd=rstd, dgamma=d.dgamma, dbeta=d.dbeta,
        dresidual=dresidual, dbias=dbias, dropout_p=P, dropout_seed=7, eps=EPS, execution=execution,
    )  # fmt: skip
    scratch = library.scratch("norm_backward", "norm_backward", **shared)
    ours = library.prepare("layer_norm_backward", "norm_backward", **shared, scratch=scratch)
    x, dy, w, b = map(torch.from_numpy, (d.x, d.dy, d.gamma, d.beta))
    kept = np.unpackbits(bits, count=d.x.size, bitorder="little").reshape(d.shape).astype(bool)
    mask = torch.from_numpy(kept)
    _, their_mean, their_rstd = torch.ops.aten.native_layer_norm(x, [d.cols], w, b, EPS)
    out = {}

    def peer():
        out["ds"], _, _ = torch.ops.aten.native_layer_norm_backward(
            dy, x, [d.cols], their_mean, their_rstd, w, b, [True, True, True]
        )
        out["dx"] = torch.ops.aten.native_dropout_backward(out["ds"], mask, 1 / (1 - P))
        out["dbias"] = out["dx"].sum(0)

    def error(ds, dx, dbias):
        np.testing.assert_allclose(dx, np.where(kept, ds / (1 - P), 0), rtol=1e-4)
        # PyTorch sums in f32.
        size = np.abs(dx.astype(np.float64)).sum(0)
        assert (np.abs(dbias - dx.astype(np.float64).sum(0)) <= 1e-5 * size).all()
        return d.gradient_error(ds)

    return {
        "evenkeel": (ours, lambda: error(dresidual, d.dx, dbias)),
        "PyTorch": (peer, lambda: error(*(out[name].numpy() for name in ("ds", "dx", "dbias")))),
    }


def rms_norm_both(library, data, execution, threads):
    """y, then dx and dgamma."""
    d = data
    rstd = np.zeros(d.rows)
    forward = library.prepare(
        "rms_norm", x=d.x, y=d.y, shape=d.shape, gamma=d.gamma, rstd=rstd, eps=EPS, execution=execution
    )
    shared = dict(
        dy=d.dy, dx=d.dx, x=d.x, shape=d.shape, gamma=d.gamma, rstd=rstd, dgamma=d.dgamma, eps=EPS, execution=execution
    )
    scratch = library.scratch("norm_backward", "norm_backward", **shared)
    backward = library.prepare("rms_norm_backward", "norm_backward", **shared, scratch=scratch)

    def ours():
        forward()
        backward()

    x, dy, w = map(torch.from_numpy, (d.x, d.dy, d.gamma))
    x, w, out = x.requires_grad_(), w.requires_grad_(), {}

    def peer():
        with torch.enable_grad():
            y = torch.nn.functional.rms_norm(x, (d.cols,), w, EPS)
            out["dx"], _ = torch.autograd.grad(y, [x, w], dy)

    error = lambda dx: d.gradient_error(dx, mean_of_squares=True)  # noqa: E731
    return {"evenkeel": (ours, lambda: error(d.dx)), "PyTorch": (peer, lambda: error(out["dx"].numpy()))}


def batch_norm_training(library, data, execution, threads):
    d = data
    mean, rstd = np.zeros((2, d.cols), np.float32)
    running_mean, running_var = np.zeros(d.cols, np.float32), np.ones(d.cols, np.float32)
    shared = dict(x=d.x, y=d.y, shape=d.shape, execution=execution)
    ours = library.prepare(
        "batch_norm_training", **shared, gamma=d.gamma, beta=d.beta, eps=EPS, mean=mean, rstd=rstd,
        running_mean=running_mean, running_var=running_var, momentum_rule=library.MOMENTUM_PYTORCH, momentum=0.1,
        unbiased_running_var=1, scratch=library.scratch("batch_norm", "batch_norm_training", **shared),
    )  # fmt: skip
    x, w, b = map(torch.from_numpy, (d.x, d.gamma, d.beta))
    their_mean, their_var, out = torch.zeros(d.cols), torch.ones(d.cols), {}

    def peer():
        out["y"] = torch.nn.functional.batch_norm(x, their_mean, their_var, w, b, True, 0.1, EPS)

    return {
        "evenkeel": (ours, lambda: d.output_error(d.y, 0)),
        "PyTorch": (peer, lambda: d.output_error(out["y"].numpy(), 0)),
    }


def batch_norm_inference(library, data, execution, threads):
    d = data
    mean = d.x.astype(np.float64).mean(0).astype(np.float32)
    var = d.x.astype(np.float64).var(0).astype(np.float32)
    ours = library.prepare(
        "batch_norm_inference", x=d.x, y=d.y, shape=d.shape, running_mean=mean, running_var=var, gamma=d.gamma,
        beta=d.beta, eps=EPS, execution=execution,
    )  # fmt: skip
    x, w, b, m, v = map(torch.from_numpy, (d.x, d.gamma, d.beta, mean, var))
    out = {}

    def peer():
        out["y"] = torch.nn.functional.batch_norm(x, m, v, w, b, False, 0.1, EPS)

    node = helper.make_node("BatchNormalization", ["x", "w", "b", "m", "v"], ["y"], epsilon=EPS)
    ort, ort_y = onnx_session([node], ["w", "b", "m", "v"], d.x, "y", [d.gamma, d.beta, mean, var], threads)

    def error(y):
        x_hat = (d.x.astype(np.float64) - mean) / np.sqrt(var.astype(np.float64) + EPS)
        scale = np.abs(d.gamma) * np.maximum(1, np.abs(x_hat)) + np.abs(d.beta)
        return float((np.abs(y - (x_hat * d.gamma.astype(np.float64) + d.beta)) / scale).max())

    return {
        "evenkeel": (ours, lambda: error(d.y)),
        "PyTorch": (peer, lambda: error(out["y"].numpy())),
        "ONNX Runtime": (ort, lambda: error(ort_y)),
    }


def dropout(library, data, execution, threads):
    d = data
    mask = np.zeros((d.x.size + 7) // 8, np.uint8)
    ours = library.prepare(
        "dropout", x=d.x, y=d.y, p=P, seed=7, keep_mask=(mask, library.BITS), execution=execution
    )
    x, out = torch.from_numpy(d.x), {}

    def peer():
        out["y"], out["mask"] = torch.native_dropout(x, P, True)

    def error(y):
        """Of the share that is dropped, in standard deviations of it; what is kept must be x / (1 - p)."""
        kept = y != 0
        np.testing.assert_allclose(y[kept], d.x[kept] / (1 - P), rtol=1e-4)
        deviations = abs(1 - kept.mean() - P) / np.sqrt(P * (1 - P) / y.size)
        assert deviations < 5, f"{deviations} deviations off p"
        return None

    return {"evenkeel": (ours, lambda: error(d.y)), "PyTorch": (peer, lambda: error(out["y"].numpy()))}


def var_mean(axis):
    def operation(library, data, execution, threads):
        d, out = data, {}
        moments = np.zeros(d.rows if axis == 1 else d.cols, MOMENTS)
        shared = dict(x=d.x, moments=moments, shape=d.shape, execution=execution)
        if axis == 1:
            ours = library.prepare("row_moments", **shared)
        else:
            scratch = library.scratch("column_moments", "column_moments", **shared)
            ours = library.prepare("column_moments", **shared, scratch=scratch)
        x = torch.from_numpy(d.x)

        def peer():
            out["var"], out["mean"] = torch.var_mean(x, axis, correction=0)

        return {
            "evenkeel": (ours, lambda: d.variance_error(moments["m2"] / moments["count"], axis)),
            "PyTorch": (peer, lambda: d.variance_error(out["var"].numpy(), axis)),
        }

    return operation


OPERATIONS = {
    "LayerNorm": layer_norm,
    "RmsNorm": rms_norm,
    "LayerNorm backward": layer_norm_backward,
    "RmsNorm forward + backward": rms_norm_both,
    "dropout + residual + LayerNorm": dropped_layer_norm,
    "dropout + residual + LayerNorm backward": dropped_layer_norm_backward,
    "BatchNorm training": batch_norm_training,
    "BatchNorm inference": batch_norm_inference,
    "BatchNorm backward": batch_norm_backward,
    "GroupNorm backward": group_norm_backward,
    "dropout with mask": dropout,
    "var_mean of rows": var_mean(1),
    "var_mean of columns": var_mean(0),
}
# Norms of bf16 and f16, beside the f32 of the rounded numbers in f64.
for stored, (operation, promise) in storage.operations(EPS).items():
    OPERATIONS[stored], PROMISES[stored] = operation, promise


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", default=os.path.join(here, "../../target/release/libevenkeel.so"))
    parser.add_argument("--seconds", type=float, default=120, help="for all measurements together")
    parser.add_argument("--shape", action="append", help="ROWSxCOLS")
    parser.add_argument("--threads", action="append", type=int)
    parser.add_argument("--op", action="append", choices=OPERATIONS, help="default: all")
    parser.add_argument("--onednn", help="libdnnl.so of version 3")
    arguments = parser.parse_args()
    shapes = arguments.shape or ["128x768", "2048x1024", "4096x4096"]
    shapes = [tuple(map(int, shape.split("x"))) for shape in shapes]
    threads = arguments.threads or sorted({1, os.cpu_count()})

    operations = {name: OPERATIONS[name] for name in arguments.op or OPERATIONS}
    library = Library(arguments.library)
    library.onednn = OneDnn(arguments.onednn) if arguments.onednn else None
    torch.set_grad_enabled(False)
    print(f"evenkeel ({library.backend}), PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}\n")
    if library.onednn:
        print(f"oneDNN {library.onednn.version}\n")

    print("Largest error, of outputs as a part of |gamma| * max(1, |x_hat|) + |beta|, of dx as one of rstd * max|g| * (1 + |x_hat|), of variances relative; 512x768.\n")
    print("| operation | |", " | ".join(f"mean/std {mean:g}" for mean in MEANS), "|")
    print("|---|---|", "---|" * len(MEANS), sep="")
    serial = library.execution(tasks=1)
    torch.set_num_threads(1)
    for name, operation in operations.items():
        errors = {}
        for mean in MEANS:
            for contender, (run, error) in operation(library, Data(512, 768, mean), serial, 1).items():
                run()
                errors.setdefault(contender, []).append(error())
        for contender, values in errors.items():
            if None in values:
                continue
            if contender == "evenkeel":
                assert max(values) <= PROMISES.get(name, PROMISE), f"{name}: {values}"
            print(f"| {name} | {contender} |", " | ".join(f"{value:.1e}" for value in values), "|")

    cells = len(operations) * len(shapes) * len(threads)
    print("\nMicroseconds a call, in brackets how many times as long as evenkeel's.\n")
    print("| operation | shape | threads | evenkeel | PyTorch | ONNX Runtime | oneDNN |\n|---|---|---|---|---|---|---|")
    for name, operation in operations.items():
        for shape in shapes:
            data = Data(*shape)
            for count in threads:
                torch.set_num_threads(count)
                execution = library.execution(tasks=1 if count == 1 else 0)
                contenders = operation(library, data, execution, count)
                times = medians({key: run for key, (run, _) in contenders.items()}, arguments.seconds / cells)
                row = [f"{times['evenkeel']:.1f}"]
                for peer in ["PyTorch", "ONNX Runtime", "oneDNN"]:
                    ratio = times.get(peer, 0) / times["evenkeel"]
                    row.append(f"{times[peer]:.1f} ({ratio:.1f})" if peer in times else "")
                print(f"| {name} | {shape[0]}x{shape[1]} | {count} |", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()

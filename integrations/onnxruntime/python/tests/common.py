"""Models of one node, and what the node should give."""

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

import evenkeel_ort

F32 = numpy.float32


def node_model(op_type, inputs, outputs, domain="evenkeel", opset=17, dims=True, **attributes):
    """A model of one node. inputs: by name, arrays, or None for one that is left out. outputs: names, "" for one that is not there.
    Without dims, nothing is said about the shapes of inputs."""
    node = helper.make_node(
        op_type, [name if x is not None else "" for name, x in inputs.items()], outputs, "node", domain=domain, **attributes
    )
    # Statistics are float, whatever the other types are.
    of_output = lambda name: TensorProto.FLOAT if name in ("mean", "rstd") else next(iter(types.values()))
    types = {name: helper.np_dtype_to_tensor_dtype(x.dtype) for name, x in inputs.items() if x is not None}
    graph = helper.make_graph(
        [node],
        "test",
        [
            helper.make_tensor_value_info(name, types[name], [None] * x.ndim if dims else None)
            for name, x in inputs.items()
            if x is not None
        ],
        [helper.make_tensor_value_info(name, of_output(name), None) for name in outputs if name],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("evenkeel", 1), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def session(model, threads=1, **options):
    """A session of a model with evenkeel's operators."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 4
    for name, value in options.items():
        setattr(settings, name, value)
    evenkeel_ort.register(settings)
    data = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    return onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])


def run(model, inputs, **options):
    """The outputs of a model."""
    present = {name: x for name, x in inputs.items() if x is not None}
    return session(model, **options).run(None, present)


def normalise(x, axis=-1, epsilon=1e-5, gamma=None, beta=None, rms=False):
    """y, mean and 1 / sqrt(var + epsilon), in double."""
    x = x.astype(numpy.float64)
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = x.mean(axes, keepdims=True)
    centred = x if rms else x - mean
    rstd = 1 / numpy.sqrt((centred**2).mean(axes, keepdims=True) + float(F32(epsilon)))
    y = centred * rstd
    y = y if gamma is None else y * gamma
    return (y if beta is None else y + beta), mean, rstd


def random(*shape, seed=0):
    """Numbers of mean 1 and variance 1, always the same."""
    return numpy.asarray(numpy.random.default_rng((seed, *shape)).standard_normal(shape, F32) + F32(1))

"""How long one node takes, ONNX Runtime's and evenkeel's in turns, with preallocated outputs: medians in microseconds.

    python models/operators.py --threads 1

Each time includes what a session does around a node, about 3 microseconds.
"""

import argparse
import statistics
import time

import numpy
import onnxruntime
from onnx import TensorProto, helper

import evenkeel_ort

SHAPES = [(1, 384), (16, 384), (128, 384), (512, 384), (4096, 384), (128, 768), (2048, 1024)]
OPERATORS = {
    "LayerNormalization": ("", ["x", "gamma", "beta"]),
    "RMSNormalization": ("", ["x", "gamma"]),
    "SkipLayerNormalization": ("com.microsoft", ["x", "skip", "gamma", "beta", "bias"]),
    "SkipSimplifiedLayerNormalization": ("com.microsoft", ["x", "skip", "gamma"]),
}


def bound(op_type, domain, inputs, threads):
    """A session and its buffers."""
    float_type = TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op_type, list(inputs), ["y"], domain=domain, epsilon=1e-5)],
        "one",
        [helper.make_tensor_value_info(name, float_type, x.shape) for name, x in inputs.items()],
        [helper.make_tensor_value_info("y", float_type, inputs["x"].shape)],
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("evenkeel", 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    evenkeel_ort.register(options)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, x in inputs.items():
        binding.bind_cpu_input(name, x)
    y = onnxruntime.OrtValue.ortvalue_from_numpy(numpy.empty_like(inputs["x"]))
    binding.bind_ortvalue_output("y", y)
    return session, binding


def measure(sessions, seconds=0.6):
    """Microseconds of each, the median over rounds of several runs."""
    times = [[] for _ in sessions]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for (session, binding), of in zip(sessions, times, strict=True):
            runs = 1 if of and of[-1] > 1e-3 else 20
            session.run_with_iobinding(binding)
            start = time.perf_counter()
            for _ in range(runs):
                session.run_with_iobinding(binding)
            of.append((time.perf_counter() - start) / runs)
    return [statistics.median(of) * 1e6 for of in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    print(f"onnxruntime {onnxruntime.__version__}, {threads} threads; ONNX Runtime, evenkeel us")
    print("| rows x cols |", " | ".join(OPERATORS), "|")
    print("|---" * (len(OPERATORS) + 1) + "|")
    random = numpy.random.default_rng(1)
    for rows, cols in SHAPES:
        cells = []
        for op_type, (domain, names) in OPERATORS.items():
            inputs = {
                name: random.standard_normal((1, rows, cols) if name in ("x", "skip") else cols, numpy.float32) for name in names
            }
            theirs, ours = measure([bound(op_type, of, inputs, threads) for of in (domain, "evenkeel")])
            cells.append(f"{theirs:.3g}, {ours:.3g} ({theirs / ours:.1f})")
        print(f"| {rows}x{cols} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()

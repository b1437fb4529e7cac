"""How long MiniLM takes with ONNX Runtime's norms and with evenkeel's, interleaved.

    python models/measure.py --threads 1 --shape 1x128 --shape 8x128

A round runs each model twice and times the second run: the CPU time of one thread, the wall time of several. Times are medians over the
rounds. `norms` is the time in kernels of norms, and of additions, by ONNX Runtime's profiler, in sessions of their own: medians of each
node. `difference` is the largest of the outputs, padding left out.
"""

import argparse
import collections
import json
import pathlib
import statistics
import sys
import tempfile
import time

import minilm
import numpy
import onnx
import onnxruntime

import evenkeel_ort

NORMS = {
    "LayerNormalization",
    "SkipLayerNormalization",
    "EmbedLayerNormalization",
    "SimplifiedLayerNormalization",
    "SkipSimplifiedLayerNormalization",
}


def variants(names):
    """By name: a model, whether it has evenkeel's operators, and which of ONNX Runtime's optimisers are switched off."""
    found = {}
    for name, path in minilm.models().items():
        model = onnx.load(path)
        data = model.SerializeToString()
        found[name] = (data, False, [])
        if name == "int8":
            # ONNX Runtime makes SkipLayerNormalization of this one while it loads it.
            found["int8, Add"] = (data, False, ["SkipLayerNormFusion"])
        found[f"{name} + evenkeel"] = (evenkeel_ort.optimize(model).SerializeToString(), True, [])
    return {name: found[name] for name in found if not names or name in names}


def session(model, evenkeel, disabled, threads, profile=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if evenkeel:
        evenkeel_ort.register(options)
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
    )


def rounds(sessions, feeds, seconds, clock, least=5):
    """Seconds by session, of each round. There are at least so many."""
    times = collections.defaultdict(list)
    end = time.perf_counter() + seconds
    order = list(sessions)
    while time.perf_counter() < end or len(times[order[0]]) < least:
        for name in order:
            sessions[name].run(None, feeds)
            start = clock()
            sessions[name].run(None, feeds)
            times[name].append(clock() - start)
        order = order[1:] + order[:1]
    return times


def kernel_times(file):
    """Seconds a run, of norms and of additions: of each node the median of its runs."""
    durations = collections.defaultdict(list)
    for event in json.loads(pathlib.Path(file).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            durations[event["name"], event["args"]["op_name"]].append(event["dur"] * 1e-6)
    totals = collections.Counter()
    for (_, op_type), of_node in durations.items():
        totals["norms" if op_type in NORMS else "adds" if op_type == "Add" else "others"] += statistics.median(of_node)
    return totals


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", action="append", default=[])
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=10, help="for each shape")
    arguments = parser.parse_args()
    clock = time.thread_time if arguments.threads == 1 else time.perf_counter
    models = variants(arguments.model)
    print(f"onnxruntime {onnxruntime.__version__}, {arguments.threads} threads")
    print("| batch x sequence | model | ms | quartiles | of plain | norms ms | adds ms | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for shape in arguments.shape or ["1x16", "1x128", "1x512", "8x16", "8x128", "8x512"]:
        feeds = minilm.inputs(*map(int, shape.split("x")))
        sessions = {name: session(*model, arguments.threads) for name, model in models.items()}
        outputs = {name: sessions[name].run(None, feeds)[0] for name in sessions}
        times = rounds(sessions, feeds, arguments.seconds, clock)
        del sessions
        with tempfile.TemporaryDirectory() as directory:
            profiled = {
                name: session(*model, arguments.threads, f"{directory}/{i}") for i, (name, model) in enumerate(models.items())
            }
            rounds(profiled, feeds, arguments.seconds / 3, clock, 2)
            kernels = {name: kernel_times(profiled[name].end_profiling()) for name in models}
        base = statistics.median(times[next(iter(models))])
        for name in models:
            quartiles = numpy.quantile(times[name], (0.25, 0.75)) * 1e3
            median = statistics.median(times[name])
            reference = outputs["int8" if name.startswith("int8") and "int8" in outputs else next(iter(models))]
            words = feeds["attention_mask"] == 1
            difference = numpy.abs(outputs[name] - reference)[words].max()
            print(
                f"| {shape} | {name} | {median * 1e3:.2f} | {quartiles[0]:.2f}-{quartiles[1]:.2f} | {median / base:.3f} "
                f"| {kernels[name]['norms'] * 1e3:.3f} | {kernels[name]['adds'] * 1e3:.3f} | {difference:.1e} |",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""evenkeel's scalers beside scikit-learn's: the same data, one process, one thread, turn by turn.

    python3 -m venv target/venv && target/venv/bin/pip install scikit-learn
    cargo rustc --release --lib --features capi --crate-type cdylib
    taskset -c 1 target/venv/bin/python benches/peers/scikit_learn.py [--library FILE] [--seconds S] [--assume-finite]
                                                                      [--default-malloc] [--shape ROWSxCOLS]...

First the results: the error of each against a float64 reference, evenkeel's checked against its promise, and the
difference of the two. Then the times: median of the samples, in milliseconds, and GB/s of x read and, by a transform,
y written. numpy's copy of x to y, and its sum of x, are there for scale.

What is unfair: scikit-learn allocates its output in every call; glibc is told to keep the memory, unless there is
--default-malloc: then every page is a fault, as it is in a program that tells glibc nothing. It looks for infinities before
it begins, in a pass of its own; --assume-finite has it not do so. Its statistics are float64, as evenkeel's are.
"""

import argparse
import os
import sys

from library import KEEP, Library, aligned, medians, start_with

THREADS = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
start_with(**dict.fromkeys(THREADS, "1"), **({} if "--default-malloc" in sys.argv else KEEP))

import numpy as np  # noqa: E402
import sklearn  # noqa: E402
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler  # noqa: E402

MOMENTS = np.dtype([("count", "u8"), ("mean", "f8"), ("mean_low", "f8"), ("m2", "f8")])
# Of an output, as a part of max(1, |y|); of statistics, as a part of the variance and of the standard deviation.
PROMISE, STATISTICS = 1e-6, 1e-12
# Rows of a part of the reference, which is float64.
PART = 1 << 14


class Data:
    """Features of different means and deviations."""

    def __init__(self, rows, cols):
        random = np.random.default_rng(rows * 1_000_003 + cols)
        self.rows, self.cols = rows, cols
        self.x = aligned(rows * cols, np.float32).reshape(rows, cols)
        mean, std = random.uniform(-10, 10, cols), np.exp2(random.uniform(-3, 3, cols))
        for part in self.parts():
            self.x[part] = random.standard_normal(self.x[part].shape, np.float32) * std + mean
        self.y = aligned(rows * cols, np.float32).reshape(rows, cols)
        self.y[:] = 0
        self.mean = np.mean(self.x, 0, np.float64)
        self.var = sum(((self.x[part] - self.mean) ** 2).sum(0) for part in self.parts()) / rows
        self.least, self.greatest = self.x.min(0), self.x.max(0)

    def parts(self):
        return [slice(start, start + PART) for start in range(0, self.rows, PART)]

    def error(self, y, reference):
        """The largest error of y, as a part of max(1, |y|)."""
        errors = []
        for part in self.parts():
            expected = reference(self.x[part].astype(np.float64))
            errors.append((np.abs(y[part] - expected) / np.maximum(1, np.abs(expected))).max())
        return float(max(errors))

    def difference(self, a, b):
        """How far the outputs of two are apart, likewise."""
        return float(max((np.abs(a[p] - b[p]) / np.maximum(1, np.abs(b[p]))).max() for p in self.parts()))


class StandardState:
    """What evenkeel's scaler learns, in buffers of the caller."""

    def __init__(self, library, data, execution):
        self.moments, self.low = np.zeros(data.cols, MOMENTS), np.zeros(data.cols)
        fit = library.prepare(
            "standard_scaler_partial_fit", x=data.x, shape=data.x.shape, moments=self.moments, m2_low=self.low,
            execution=execution,
        )  # fmt: skip

        def run():
            self.moments[:], self.low[:] = 0, 0
            fit()

        self.fit = run


class MinMaxState:
    def __init__(self, library, data, execution):
        self.least, self.greatest = np.zeros((2, data.cols), np.float32)
        fit = library.prepare(
            "min_max_scaler_partial_fit", x=data.x, shape=data.x.shape, data_min=self.least, data_max=self.greatest,
            execution=execution,
        )  # fmt: skip

        def run():
            self.least[:], self.greatest[:] = np.inf, -np.inf
            fit()

        self.fit = run


# Every operation: (passes over x and y, run of evenkeel, run of scikit-learn, errors). The errors are that of evenkeel, that
# of scikit-learn, the difference of the two, and what evenkeel's may be.


def standard_fit(library, data, execution):
    ours, theirs = StandardState(library, data, execution), StandardScaler()

    def errors():
        moments, std = ours.moments, np.sqrt(data.var)
        assert (moments["count"] == data.rows).all()
        var = moments["m2"] / data.rows
        error = lambda mean, var: float(  # noqa: E731
            max((np.abs(mean - data.mean) / std).max(), np.abs(var / data.var - 1).max())
        )
        difference = max((np.abs(moments["mean"] - theirs.mean_) / std).max(), np.abs(var / theirs.var_ - 1).max())
        return error(moments["mean"], var), error(theirs.mean_, theirs.var_), float(difference), STATISTICS

    return 1, ours.fit, lambda: theirs.fit(data.x), errors


def outputs(data, out, reference):
    """The errors of a transform."""
    return lambda: (
        data.error(data.y, reference), data.error(out["y"], reference), data.difference(data.y, out["y"]), PROMISE
    )  # fmt: skip


def standard_transform(library, data, execution):
    state, theirs, out = StandardState(library, data, execution), StandardScaler().fit(data.x), {}
    state.fit()
    ours = library.prepare(
        "standard_scaler_transform", x=data.x, y=data.y, shape=data.x.shape, moments=state.moments, with_mean=1,
        with_std=1, execution=execution,
    )  # fmt: skip

    def peer():
        out["y"] = theirs.transform(data.x)

    reference = lambda x: (x - data.mean) / np.sqrt(data.var)  # noqa: E731
    return 2, ours, peer, outputs(data, out, reference)


def min_max_fit(library, data, execution):
    ours, theirs = MinMaxState(library, data, execution), MinMaxScaler()

    def errors():
        for least, greatest in [(ours.least, ours.greatest), (theirs.data_min_, theirs.data_max_)]:
            assert (least == data.least).all() and (greatest == data.greatest).all()
        return 0.0, 0.0, 0.0, 0.0

    return 1, ours.fit, lambda: theirs.fit(data.x), errors


def min_max_transform(library, data, execution):
    state, theirs, out = MinMaxState(library, data, execution), MinMaxScaler().fit(data.x), {}
    state.fit()
    ours = library.prepare(
        "min_max_scaler_transform", x=data.x, y=data.y, shape=data.x.shape, data_min=state.least,
        data_max=state.greatest, range_max=1.0, execution=execution,
    )  # fmt: skip

    def peer():
        out["y"] = theirs.transform(data.x)

    least, greatest = data.least.astype(np.float64), data.greatest.astype(np.float64)
    reference = lambda x: (x - least) / (greatest - least)  # noqa: E731
    return 2, ours, peer, outputs(data, out, reference)


def normalizer(library, data, execution):
    theirs, out = Normalizer("l2"), {}
    ours = library.prepare(
        "normalizer", x=data.x, y=data.y, shape=data.x.shape, norm=library.NORM_L2, execution=execution
    )

    def peer():
        out["y"] = theirs.transform(data.x)

    reference = lambda x: x / np.sqrt((x * x).sum(1, keepdims=True))  # noqa: E731
    return 2, ours, peer, outputs(data, out, reference)


OPERATIONS = {
    "StandardScaler fit": standard_fit,
    "StandardScaler transform": standard_transform,
    "MinMaxScaler fit": min_max_fit,
    "MinMaxScaler transform": min_max_transform,
    "Normalizer l2": normalizer,
}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", default=os.path.join(here, "../../target/release/libevenkeel.so"))
    parser.add_argument("--seconds", type=float, default=120, help="for all measurements together")
    parser.add_argument("--shape", action="append", help="ROWSxCOLS")
    parser.add_argument("--assume-finite", action="store_true", help="scikit-learn looks for no infinities")
    parser.add_argument("--default-malloc", action="store_true", help="glibc is not told to keep memory")
    arguments = parser.parse_args()
    shapes = [tuple(map(int, shape.split("x"))) for shape in arguments.shape or ["1000000x64"]]
    sklearn.set_config(assume_finite=arguments.assume_finite)
    library = Library(arguments.library)
    serial = library.execution(tasks=1)
    print(f"evenkeel ({library.backend}), scikit-learn {sklearn.__version__}, numpy {np.__version__}, one thread\n")

    errors, times = [], []
    for shape in shapes:
        data, name = Data(*shape), f"{shape[0]}x{shape[1]}"
        cells = len(OPERATIONS) * len(shapes)
        for operation, make in OPERATIONS.items():
            passes, ours, peer, error = make(library, data, serial)
            ours(), peer()
            *found, promise = error()
            assert found[0] <= promise, f"{operation}, {name}: {found}"
            errors.append(f"| {operation} | {name} | " + " | ".join(f"{value:.1e}" for value in found) + " |")

            yardstick = (lambda: np.copyto(data.y, data.x)) if passes == 2 else (lambda: data.x.sum())
            contenders = {"evenkeel": ours, "scikit-learn": peer, "numpy": yardstick}
            of = medians(contenders, arguments.seconds / cells, discarded=0)
            speed = [passes * data.x.nbytes / of[contender] / 1e3 for contender in contenders]
            cell = [f"{of[contender] / 1e3:.3f} ms, {gbs:.2f}" for contender, gbs in zip(contenders, speed)]
            ratio = of["scikit-learn"] / of["evenkeel"]
            times.append(f"| {operation} | {name} | " + " | ".join(cell) + f" | {ratio:.1f} |")
    print("Largest error against float64, and largest difference of the two.\n")
    print("| operation | shape | evenkeel | scikit-learn | difference |\n|---|---|---|---|---|", *errors, sep="\n")
    print("\nMilliseconds a call, GB/s of x read and y written; numpy copies x to y, or sums x.\n")
    print("| operation | shape | evenkeel | scikit-learn | numpy | times as fast |")
    print("|---|---|---|---|---|---|", *times, sep="\n")


if __name__ == "__main__":
    main()

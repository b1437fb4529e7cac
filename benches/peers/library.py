"""What the comparisons in Python have in common: libevenkeel, loaded with ctypes, and how contenders are timed."""

import ctypes
import os
import statistics
import sys
import time

import numpy as np

# glibc keeps the memory of outputs that a peer allocates in every call, so that it is not a page fault for each page.
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
DISCARDED = 3
SAMPLE_SECONDS = 2e-3


def start_with(**wanted):
    """Starts the program again with these variables, where they are not set: glibc and pools of threads look once."""
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})


class Execution(ctypes.Structure):
    _fields_ = [("backend", ctypes.c_uint32), ("stores", ctypes.c_uint32), ("tasks", ctypes.c_size_t)]


def aligned(count, dtype):
    """Memory that begins at a cache line."""
    bytes_ = count * np.dtype(dtype).itemsize
    raw = np.zeros(bytes_ + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + bytes_].view(dtype)


class Library:
    """libevenkeel: each call raises what the library complains of."""

    def __init__(self, path):
        self.dll = ctypes.CDLL(path)
        self.dll.evenkeel_last_error_message.restype = ctypes.c_char_p
        self.dll.evenkeel_backend_name.restype = ctypes.c_char_p
        self.backend = self.dll.evenkeel_backend_name(self.dll.evenkeel_backend_detect()).decode()

    def prepare(self, name, *arguments):
        """The call, with arguments converted once: a buffer becomes its address and its length."""
        converted = []
        for argument in arguments:
            if argument is None:
                converted += [ctypes.c_void_p(), ctypes.c_size_t(0)]
            elif isinstance(argument, np.ndarray):
                converted += [ctypes.c_void_p(argument.ctypes.data), ctypes.c_size_t(argument.size)]
            elif isinstance(argument, float):
                converted.append(ctypes.c_double(argument))
            elif isinstance(argument, int):
                converted.append(ctypes.c_size_t(argument))
            else:
                converted.append(argument)
        function = getattr(self.dll, f"evenkeel_{name}")

        def call():
            if function(*converted) != 0:
                raise RuntimeError(self.dll.evenkeel_last_error_message().decode())

        # Addresses do not keep what they point to.
        call.buffers = arguments
        return call


def medians(contenders, seconds, discarded=DISCARDED):
    """Microseconds a run of each: they take turns, sample by sample, whose first runs are discarded."""
    runs, samples = {}, {name: [] for name in contenders}
    for name, run in contenders.items():
        run()
        start = time.perf_counter()
        run()
        runs[name] = max(discarded + 1, int(SAMPLE_SECONDS / max(time.perf_counter() - start, 1e-7)))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[name]) < 3:
        for name, run in contenders.items():
            for _ in range(discarded):
                run()
            start = time.perf_counter()
            for _ in range(runs[name]):
                run()
            samples[name].append((time.perf_counter() - start) / runs[name] * 1e6)
    return {name: statistics.median(times) for name, times in samples.items()}

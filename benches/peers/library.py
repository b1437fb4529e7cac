"""What the comparisons in Python have in common: libevenkeel, loaded with ctypes, and how contenders are timed."""

import ctypes
import os
import re
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


def aligned(count, dtype):
    """Memory that begins at a cache line."""
    bytes_ = count * np.dtype(dtype).itemsize
    raw = np.zeros(bytes_ + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + bytes_].view(dtype)


HEADER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../include/evenkeel.h")
TYPES = {
    "size_t": ctypes.c_size_t,
    "double": ctypes.c_double,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}


class Header:
    """The structures and the numbers of evenkeel.h."""

    def __init__(self):
        with open(HEADER) as file:
            text = re.sub(r"//[^\n]*|/\*.*?\*/", "", file.read(), flags=re.S)
        self.numbers = {name: int(value) for name, value in re.findall(r"#define (\w+) (\d+)$", text, re.M)}
        self.types = TYPES | {name: ctypes.c_uint32 for name in re.findall(r"typedef uint32_t (\w+);", text)}
        for name, members in re.findall(r"typedef struct (\w+) \{(.*?)\}", text, re.S):
            fields = re.findall(r"^ *(?:const )?(?:struct )?(\w+) (\*?)(\w+);", members, re.M)
            fields = [(member, self.member(kind, pointer)) for kind, pointer, member in fields]
            self.types[name] = type(name, (ctypes.Structure,), {"_fields_": fields})

    def member(self, kind, pointer):
        return ctypes.c_void_p if pointer or kind == "evenkeel_parallel_for" else self.types[kind]


class Library:
    """libevenkeel: each call raises what the library complains of."""

    def __init__(self, path):
        self.dll, self.header = ctypes.CDLL(path), Header()
        self.dll.evenkeel_last_error_message.restype = ctypes.c_char_p
        self.dll.evenkeel_backend_name.restype = ctypes.c_char_p
        self.backend = self.dll.evenkeel_backend_name(0).decode()

    def __getattr__(self, name):
        """A number of the header, without EVENKEEL_."""
        return self.header.numbers[f"EVENKEEL_{name}"]

    def execution(self, tasks):
        """How calls run, in so many tasks; 0: as many as there are threads."""
        execution = self.header.types["evenkeel_execution"]()
        execution.size, execution.tasks = ctypes.sizeof(execution), tasks
        return execution

    def arguments(self, name, **members):
        """A structure of arguments: a buffer is an array, its dtype that of the array or said with it; rows are a shape."""
        args = self.header.types[f"evenkeel_{name}_args"]()
        args.size, args.keep = ctypes.sizeof(args), members
        for member, value in members.items():
            dtype = None
            if isinstance(value, tuple) and isinstance(value[0], np.ndarray):
                value, dtype = value
            if value is None:
                continue
            if isinstance(value, np.ndarray):
                dtype = dtype or {"float32": self.F32, "float64": self.F64}.get(str(value.dtype), self.MOMENTS)
                buffer = type(getattr(args, member))
                setattr(args, member, buffer(data=value.ctypes.data, len=value.size, dtype=dtype))
            elif member == "shape" and isinstance(value, ctypes.Structure):
                args.shape = value
            elif isinstance(value, tuple):
                args.shape.layout, args.shape.rows, args.shape.cols = self.ROWS, *value
            elif isinstance(value, ctypes.Structure):
                setattr(args, member, ctypes.addressof(value))
            else:
                setattr(args, member, value)
        return args

    def channels_first(self, batch, channels, positions):
        """A shape of samples whose channels come first."""
        shape = self.header.types["evenkeel_shape"]()
        shape.layout = self.CHANNELS_FIRST
        shape.batch, shape.channels, shape.positions = batch, channels, positions
        return shape

    def prepare(self, name, structure=None, **members):
        """The call with these members of its arguments, a structure of the same name unless it has another one."""
        args, function = self.arguments(structure or name, **members), getattr(self.dll, f"evenkeel_{name}")

        def call():
            if function(ctypes.byref(args)) != 0:
                raise RuntimeError(self.dll.evenkeel_last_error_message().decode())

        return call

    def scratch(self, query, name, **members):
        """Scratch for the call with these members."""
        args, scratch_len = self.arguments(name, **members), ctypes.c_size_t()
        if getattr(self.dll, f"evenkeel_{query}_scratch_len")(ctypes.byref(args), ctypes.byref(scratch_len)) != 0:
            raise RuntimeError(self.dll.evenkeel_last_error_message().decode())
        return np.zeros(scratch_len.value)


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

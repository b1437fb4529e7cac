"""BatchNorm and scalers whose rows lie on the ranks of an MPI job: mpi4py over the C ABI of evenkeel, with ctypes.

Every function is collective: all ranks call it, also those without rows. It raises RankError on every rank or on none.
"""

import ctypes
import struct

import numpy

NONE, F32, F64, BYTES, MOMENTS = 0, 1, 2, 9, 11
ROWS, OF_COLUMNS, KEEP = 1, 2, 1
DTYPES = {numpy.dtype("f4"): F32, numpy.dtype("f8"): F64, numpy.dtype("u1"): BYTES}
#: evenkeel_moments: plain old data of 32 bytes.
moments_dtype = numpy.dtype([("count", "u8"), ("mean", "f8"), ("mean_low", "f8"), ("m2", "f8")])

size_t, u32, u64, double, pointer = ctypes.c_size_t, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_double, ctypes.c_void_p


class Buffer(ctypes.Structure):
    """evenkeel_input and evenkeel_output, which have one layout."""

    _fields_ = [
        ("data", pointer),
        ("len", size_t),
        ("pitch", size_t),
        ("outer_pitch", size_t),
        ("dtype", u32),
        ("inner_rows", u32),
    ]


class Shape(ctypes.Structure):
    _fields_ = [("layout", u32), ("reserved", u32)] + [
        (name, size_t) for name in ("rows", "cols", "batch", "channels", "positions")
    ]


def structure(name, fields, defaults=()):
    """A structure of arguments, whose first member is its size."""

    def init(self, **members):
        ctypes.Structure.__init__(self, size=ctypes.sizeof(type(self)), **dict(defaults))
        self.arrays = members  # they live as long as the structure
        for member, value in members.items():
            setattr(self, member, buffer(value) if isinstance(value, numpy.ndarray) else value)

    return type(name, (ctypes.Structure,), {"_fields_": [("size", size_t)] + fields, "__init__": init})


def buffer(array):
    """The elements of an array, which are contiguous."""
    if not array.flags.c_contiguous:
        raise ValueError("expected an array whose elements are contiguous")
    dtype = MOMENTS if array.dtype == moments_dtype else DTYPES.get(array.dtype, 77)
    return Buffer(data=array.ctypes.data, len=array.size, dtype=dtype)


def buffers(*names):
    return [(name, Buffer) for name in names]


EXECUTION = [("execution", pointer)]
ColumnMoments = structure(
    "ColumnMoments",
    buffers("x", "moments") + [("shape", Shape)] + EXECUTION + buffers("scratch", "valid") + [("valid_steps", size_t)],
)
Merge = structure("Merge", buffers("parts", "moments") + EXECUTION)
Statistics = structure(
    "Statistics",
    buffers("moments")
    + [("eps", double)]
    + EXECUTION
    + buffers("mean", "rstd", "running_mean", "running_var")
    + [("momentum", double), ("momentum_rule", u32), ("unbiased_running_var", u32)]
    + [("skip_non_finite_updates", u32), ("reserved", u32), ("batches", u64)],
    {"eps": 1e-5, "momentum": 0.9, "momentum_rule": KEEP},
)
Normalize = structure(
    "Normalize",
    buffers("x", "y")
    + [("shape", Shape)]
    + EXECUTION
    + [("statistics_of", u32), ("reserved", u32)]
    + buffers("mean", "rstd", "gamma", "beta", "valid")
    + [("valid_steps", size_t)],
)
Backward = structure(
    "Backward",
    buffers("dy", "dx")
    + [("shape", Shape), ("eps", double)]
    + EXECUTION
    + buffers("x", "gamma", "mean", "rstd", "running_mean", "running_var", "sum_dy", "sum_dy_x_hat")
    + [("count", u64), ("groups", size_t)]
    + buffers("dgamma", "dbeta", "scratch", "valid")
    + [("valid_steps", size_t), ("accumulate", u32), ("reserved", u32)],
    {"eps": 1e-5, "groups": 32},
)
StandardFit = structure("StandardFit", buffers("x") + [("shape", Shape)] + buffers("moments", "m2_low") + EXECUTION)
StandardMerge = structure("StandardMerge", buffers("moments", "m2_low", "other", "other_m2_low") + EXECUTION)
StandardToBytes = structure(
    "StandardToBytes",
    buffers("moments", "m2_low", "bytes") + [("with_mean", u32), ("with_std", u32)],
    {"with_mean": 1, "with_std": 1},
)
MinMaxFit = structure("MinMaxFit", buffers("x") + [("shape", Shape)] + buffers("data_min", "data_max") + EXECUTION)
MinMaxMerge = structure("MinMaxMerge", buffers("data_min", "data_max", "other_min", "other_max"))
MinMaxToBytes = structure(
    "MinMaxToBytes",
    buffers("data_min", "data_max", "bytes")
    + [("range_min", double), ("range_max", double), ("clip", u32), ("reserved", u32)],
    {"range_max": 1.0},
)


class EvenkeelError(Exception):
    """A call of the library failed."""


class RankError(Exception):
    """A rank's own call is wrong, or ranks differ."""


class Library:
    """libevenkeel."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.evenkeel_last_error_message.restype = ctypes.c_char_p

    def call(self, name, args):
        if getattr(self.library, "evenkeel_" + name)(ctypes.byref(args)) != 0:
            raise EvenkeelError(self.library.evenkeel_last_error_message().decode())


def shape_of(x):
    """A matrix [rows, channels]."""
    rows, cols = x.shape
    return Shape(layout=ROWS, rows=rows, cols=cols)


def agree(comm, prepare, *header):
    """What `prepare` gives, if it succeeds on all ranks and their headers are equal."""
    result, error = None, None
    try:
        result = prepare()
    except (EvenkeelError, ValueError) as own:
        error = own
    # Of one length on every rank, whatever is wrong: numbers and short names alone.
    words = b"\1" if error else b"\0"
    words += b"".join(struct.pack("<16sd", name.encode(), number) for name, number in header)
    headers = numpy.empty((comm.size, len(words)), "u1")
    comm.Allgather(numpy.frombuffer(words, "u1"), headers)
    if error is not None:
        raise RankError(str(error)) from error
    failed = numpy.flatnonzero(headers[:, 0])
    if failed.size:
        raise RankError(f"expected a call without an error on every rank, got one on rank {failed[0]}")
    differ = numpy.flatnonzero((headers != headers[0]).any(axis=1))
    if differ.size:
        raise RankError(f"rank {differ[0]}: expected the shape, the type and the settings of rank 0")
    return result


def gather(comm, own):
    """What every rank has, in rank order. All are equally long."""
    everything = numpy.empty((comm.size, own.size), own.dtype)
    comm.Allgather(own.view("u1"), everything.view("u1"))
    return everything


class SyncBatchNorm:
    """BatchNorm of a batch of which every rank has some rows, in training."""

    def __init__(self, library, comm, gamma=None, beta=None, **settings):
        """Settings are those of evenkeel_batch_norm_statistics_args: eps, momentum, and so on."""
        self.library, self.comm, self.settings = library, comm, settings
        self.affine = {name: array for name, array in (("gamma", gamma), ("beta", beta)) if array is not None}

    def header(self, name, x):
        settings = [(key, float(value)) for key, value in sorted(self.settings.items())]
        settings = [(key[:16], value) for key, value in settings + [("", 0.0)] * (8 - len(settings))]
        return [(name, x.shape[1]), (x.dtype.str, 0.0)] + settings

    def forward(self, x, running_mean, running_var):
        """y of this rank's x, and (count, mean, rstd) of the whole batch. Moves the running statistics once."""
        running = {"running_mean": running_mean, "running_var": running_var}

        def prepare():
            own = numpy.zeros(x.shape[1], moments_dtype)
            # Of a batch of nothing, everything is checked, and nothing is written.
            self.library.call("batch_norm_statistics", Statistics(moments=own, **running, **self.settings))
            if any(array.shape != own.shape for array in self.affine.values()):
                raise ValueError("`gamma` and `beta`: expected one a channel")
            self.library.call("column_moments", ColumnMoments(x=x, shape=shape_of(x), moments=own))
            return own

        own = agree(self.comm, prepare, *self.header("forward", x))
        parts = gather(self.comm, own)
        self.library.call("column_moments_merge", Merge(parts=parts, moments=own))
        mean, rstd = numpy.empty(own.size), numpy.empty(own.size)
        args = Statistics(moments=own, mean=mean, rstd=rstd, **running, **self.settings)
        self.library.call("batch_norm_statistics", args)
        y, statistics = numpy.empty_like(x), {"mean": mean, "rstd": rstd}
        args = Normalize(x=x, y=y, shape=shape_of(x), statistics_of=OF_COLUMNS, **statistics, **self.affine)
        self.library.call("normalize_scale_shift", args)
        return y, (int(own["count"][0]), mean, rstd)

    def backward(self, x, dy, saved):
        """dx of this rank's rows; dgamma and dbeta of the whole batch, the same on every rank."""
        count, mean, rstd = saved
        affine = {name: array for name, array in self.affine.items() if name == "gamma"}
        args = {"dy": dy, "x": x, "shape": shape_of(x), "mean": mean, "rstd": rstd, **affine}

        def prepare():
            own = numpy.zeros((2, x.shape[1]))
            # Without dx, the second step only checks that it has no error.
            self.library.call(
                "batch_norm_backward_apply", Backward(sum_dy=own[0], sum_dy_x_hat=own[1], count=count, **args)
            )
            self.library.call("batch_norm_backward", Backward(dbeta=own[0], dgamma=own[1], **args))
            return own

        own = agree(self.comm, prepare, *self.header("backward", x))
        sums = numpy.zeros_like(own)
        for part in gather(self.comm, own.reshape(-1)):  # in rank order
            sums += part.reshape(own.shape)
        dx = numpy.empty_like(dy)
        args = Backward(dx=dx, sum_dy=sums[0], sum_dy_x_hat=sums[1], count=count, **args)
        self.library.call("batch_norm_backward_apply", args)
        return dx, sums[1], sums[0]


class StandardScaler:
    """What a standard scaler has learnt."""

    def __init__(self, library, features):
        self.library, self.moments, self.m2_low = library, numpy.zeros(features, moments_dtype), numpy.zeros(features)

    def partial_fit(self, x):
        self.library.call(
            "standard_scaler_partial_fit", StandardFit(x=x, shape=shape_of(x), moments=self.moments, m2_low=self.m2_low)
        )

    def merge_ranks(self, comm):
        """Learns what the scalers of all ranks have learnt, in rank order."""
        agree(comm, lambda: None, ("standard scaler", self.m2_low.size))
        everything, low = gather(comm, self.moments), gather(comm, self.m2_low)
        self.moments[:], self.m2_low[:] = 0, 0
        for other, other_m2_low in zip(everything, low):
            own = {"moments": self.moments, "m2_low": self.m2_low}
            self.library.call("standard_scaler_merge", StandardMerge(other=other, other_m2_low=other_m2_low, **own))

    def to_bytes(self):
        state = numpy.empty(32 + 40 * self.m2_low.size, "u1")
        args = StandardToBytes(moments=self.moments, m2_low=self.m2_low, bytes=state)
        self.library.call("standard_scaler_to_bytes", args)
        return state.tobytes()


class MinMaxScaler:
    """What a min-max scaler has learnt."""

    def __init__(self, library, features):
        self.library = library
        self.min, self.max = (numpy.full(features, end, "f4") for end in (numpy.inf, -numpy.inf))

    def partial_fit(self, x):
        args = MinMaxFit(x=x, shape=shape_of(x), data_min=self.min, data_max=self.max)
        self.library.call("min_max_scaler_partial_fit", args)

    def merge_ranks(self, comm):
        """Learns what the scalers of all ranks have learnt."""
        agree(comm, lambda: None, ("min-max scaler", self.min.size))
        for other_min, other_max in zip(gather(comm, self.min), gather(comm, self.max)):
            args = {"data_min": self.min, "data_max": self.max, "other_min": other_min, "other_max": other_max}
            self.library.call("min_max_scaler_merge", MinMaxMerge(**args))

    def to_bytes(self):
        state = numpy.empty(48 + 8 * self.min.size, "u1")
        self.library.call("min_max_scaler_to_bytes", MinMaxToBytes(data_min=self.min, data_max=self.max, bytes=state))
        return state.tobytes()

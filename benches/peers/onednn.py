"""LayerNorm of oneDNN, by its C API and ctypes.

Numbers are those of dnnl_types.h, which the package of the library does not have. They have not changed since version 3.0.
"""

import ctypes

CPU, F32, FORWARD_INFERENCE = 1, 3, 96
USE_SCALE, USE_SHIFT = 2, 4
SRC, DST, SCALE, SHIFT = 1, 17, 51, 52


class Version(ctypes.Structure):
    _fields_ = [("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int)]


class Argument(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("memory", ctypes.c_void_p)]


class OneDnn:
    """libdnnl.so of version 3. It runs on the threads of OpenMP, of which there are OMP_NUM_THREADS."""

    def __init__(self, path):
        self.dll = ctypes.CDLL(path)
        self.dll.dnnl_version.restype = ctypes.POINTER(Version)
        version = self.dll.dnnl_version().contents
        self.version = f"{version.major}.{version.minor}.{version.patch}"
        self.engine = self.made("engine_create", ctypes.c_int(CPU), ctypes.c_size_t(0))
        self.stream = self.made("stream_create", self.engine, ctypes.c_uint(1))

    def call(self, name, *arguments):
        status = getattr(self.dll, f"dnnl_{name}")(*arguments)
        if status != 0:
            raise RuntimeError(f"dnnl_{name}: status {status}")

    def made(self, name, *arguments):
        handle = ctypes.c_void_p()
        self.call(name, ctypes.byref(handle), *arguments)
        return handle

    def described(self, shape):
        """Elements of a shape, contiguous."""
        dims, strides = (ctypes.c_int64 * len(shape))(*shape), (ctypes.c_int64 * len(shape))()
        stride = 1
        for axis in reversed(range(len(shape))):
            strides[axis], stride = stride, stride * shape[axis]
        return self.made("memory_desc_create_with_strides", ctypes.c_int(len(shape)), dims, ctypes.c_int(F32), strides)

    def layer_norm(self, x, y, gamma, beta, eps):
        rows, flags = self.described(x.shape), ctypes.c_uint(USE_SCALE | USE_SHIFT)
        primitive = self.made(
            "primitive_create",
            self.made(
                "layer_normalization_forward_primitive_desc_create", self.engine, ctypes.c_int(FORWARD_INFERENCE),
                rows, rows, None, ctypes.c_float(eps), flags, None,
            ),
        )  # fmt: skip
        buffers = {SRC: x, DST: y, SCALE: gamma, SHIFT: beta}
        arguments = (Argument * len(buffers))()
        for argument, (kind, buffer) in zip(arguments, buffers.items()):
            data, described = ctypes.c_void_p(buffer.ctypes.data), self.described(buffer.shape)
            argument.kind = kind
            argument.memory = self.made("memory_create", described, self.engine, data).value
        execute, wait = self.dll.dnnl_primitive_execute, self.dll.dnnl_stream_wait
        stream, count = self.stream, ctypes.c_int(len(buffers))

        def run():
            if execute(primitive, stream, count, arguments) != 0 or wait(stream) != 0:
                raise RuntimeError("dnnl_primitive_execute")

        return run

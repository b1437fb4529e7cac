"""The library of operators."""

import pathlib
import sys

# The first whose operators can tell the shape of an output, and lend threads.
OLDEST_ONNXRUNTIME = (1, 17)

_NAMES = {"darwin": "libevenkeel_onnxruntime.dylib", "win32": "evenkeel_onnxruntime.dll"}


def library_path() -> str:
    """Where the library is: for programs in C++, which pass it to `RegisterCustomOpsLibrary_V2`."""
    path = pathlib.Path(__file__).with_name(_NAMES.get(sys.platform, "libevenkeel_onnxruntime.so"))
    if not path.is_file():
        raise RuntimeError(f"evenkeel_ort: expected its library at {path}, got no file: install a wheel of this platform")
    return str(path)


def register(options) -> None:
    """Makes the operators known to sessions with these `onnxruntime.SessionOptions`."""
    import onnxruntime

    _check_version(onnxruntime.__version__)
    options.register_custom_ops_library(library_path())


def _check_version(version: str) -> None:
    numbers = tuple(int(number) for number in version.split(".")[:2])
    if numbers < OLDEST_ONNXRUNTIME:
        oldest = ".".join(map(str, OLDEST_ONNXRUNTIME))
        raise RuntimeError(f"evenkeel_ort: expected onnxruntime {oldest} or newer, got {version}")

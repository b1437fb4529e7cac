"""Compiles the library of operators with cargo and puts it into the wheel, which any Python 3 of the platform can use."""

import json
import pathlib
import shutil
import subprocess
import sys

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = pathlib.Path(__file__).resolve().parent
NAMES = {"darwin": "libevenkeel_onnxruntime.dylib", "win32": "evenkeel_onnxruntime.dll"}
LIBRARY = NAMES.get(sys.platform, "libevenkeel_onnxruntime.so")


class BuildWithCargo(build_py):
    def run(self):
        manifest = HERE.parent / "Cargo.toml"
        command = ["cargo", "build", "--release", "--locked", "--manifest-path", str(manifest)]
        command += ["--message-format", "json-render-diagnostics"]
        messages = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        # cargo says where the library is: the directory may be another one than `target`.
        files = [file for line in messages.splitlines() for file in json.loads(line).get("filenames", [])]
        (library,) = (file for file in files if pathlib.Path(file).name == LIBRARY)
        super().run()
        shutil.copy(library, pathlib.Path(self.build_lib) / "evenkeel_ort" / LIBRARY)


class PlatformWheel(bdist_wheel):
    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class Binary(Distribution):
    def has_ext_modules(self):
        return True


setup(cmdclass={"build_py": BuildWithCargo, "bdist_wheel": PlatformWheel}, distclass=Binary)

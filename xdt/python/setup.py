"""Builds the package with a libxdt of its own, from the C sources beside it."""

import pathlib
import shutil

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = pathlib.Path(__file__).resolve().parent
LIBXDT = HERE.parent / "libxdt"


class BuildLibxdt(build_ext):
    """A plain shared library: the package loads it with ctypes."""

    def build_extension(self, ext):
        target = pathlib.Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        build = pathlib.Path(self.build_temp) / "libxdt"
        build.mkdir(parents=True, exist_ok=True)
        for file in LIBXDT.glob("*.[ch]"):
            shutil.copy(file, build)
        sources = [str(build / name) for name in ("channel.c", "xdt.c")]
        objects = self.compiler.compile(sources, output_dir=str(build),
                                        extra_postargs=["-std=gnu11", "-fPIC", "-O2"])
        self.compiler.link_shared_object(objects, str(target), extra_postargs=["-pthread"])


setup(packages=["f3"], ext_modules=[Extension("f3._libxdt", [])],
      cmdclass={"build_ext": BuildLibxdt})

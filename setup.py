"""Which files an installed `codec-bench` has; all else about it is in pyproject.toml.

The folders keep their names but get a parent of their own, so that nothing installed is called
`datasets`, or `codecs` as a module of the standard library is: `bench/command.py` finds them there.
"""

from setuptools import find_namespace_packages, setup

PARENT = "codec_bench"
FOLDERS = ("bench", "codecs", "datasets", "reports")

setup(
    packages=[
        f"{PARENT}.{name}"
        for folder in FOLDERS
        for name in (folder, *(f"{folder}.{each}" for each in find_namespace_packages(folder)))
    ],
    package_dir={f"{PARENT}.{folder}": folder for folder in FOLDERS},
    package_data={"": ["*"]},
)

"""Run a program on this machine as if it ran inside a Kubernetes pod.

The command line is `mirrord.cli`; the data path, in Rust, is `mirrord.proxy`. Nothing is imported here, so that
`mirrord --help` stays quick.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"

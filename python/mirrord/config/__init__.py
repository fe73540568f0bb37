"""The configuration: text to raw tree, raw tree to typed values, typed values to the proxy's settings.

    file ──read──> raw tree ──┐
    environment ──overlay─────┼─> one raw tree ──check──> known keys only ──schema──> `Config`
    flags ──overlay───────────┘                                                        │
                                               proxy's JSON <──settings── + this machine's facts

Used by the commands. Nothing here touches the cluster.
"""

from mirrord.config.resolve import Source, resolve, resolve_file
from mirrord.config.schema import Config

__all__ = ["Config", "Source", "resolve", "resolve_file"]

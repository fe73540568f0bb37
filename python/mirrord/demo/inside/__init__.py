"""What runs in the sandbox. Standard library only, and importable without the rest of mirrord.

The interpreter that runs it is started with `-I -S`, so nothing installed is in reach; every import in this folder is
relative or from the standard library. `builder` is the first to run.
"""

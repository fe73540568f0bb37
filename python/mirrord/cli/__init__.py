"""The command line: options and dispatch only. `main` is the console script's entry point.

Commands live in modules of their own and import what they do inside their bodies: `mirrord --help` must answer within
150 ms, and loads neither the Kubernetes client nor the data path.
"""

from __future__ import annotations

import gc
import signal
import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line; every failure leaves as words on stderr and an exit code, never as a traceback."""
    # Until something exists that must be removed, Ctrl-C may simply end us: no traceback, and the right status.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A start makes many objects and no garbage; `session` switches it on again when the program runs.
    gc.disable()
    from mirrord import output
    from mirrord.errors import BAD_USAGE, INTERNAL, Interrupted, MirrordError

    try:
        import click

        from mirrord.cli.root import root
    except ImportError as failure:
        output.error(
            MirrordError(INTERNAL, "mirrord is not installed completely", str(failure), hint="Install it again")
        )
        sys.exit(INTERNAL.exit_code)
    try:
        sys.exit(root.main(prog_name="mirrord", standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as question:
        output.data(question.ctx.get_help())
        sys.exit(BAD_USAGE.exit_code)
    except click.UsageError as mistake:
        command = mistake.ctx.command_path if mistake.ctx else "mirrord"
        output.error(MirrordError(BAD_USAGE, _sentence(mistake), hint=f"See `{command} --help`"))
        sys.exit(BAD_USAGE.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except MirrordError as failure:
        output.error(failure)
        sys.exit(failure.exit_code)
    except Interrupted as interruption:
        from mirrord.signals import die_by

        output.notice("interrupted; everything was removed")
        die_by(interruption.number)
        sys.exit(128 + interruption.number)
    except Exception as failure:  # noqa: BLE001 - the last handler: no traceback for a user
        output.internal_error(failure)
        sys.exit(INTERNAL.exit_code)


def _sentence(mistake: Exception) -> str:
    """Click's message in our manner: values in backticks, no full stop."""
    text = " ".join(str(getattr(mistake, "format_message", mistake.__str__)()).split())
    return text.replace("'", "`").removesuffix(".")

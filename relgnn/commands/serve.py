"""`relgnn serve` and `relgnn serve-key`: the HTTP service and the keys to it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from relgnn.commands.ask import RunFolder
from relgnn.commands.console import AsJson, print_json, print_table, user

keys = typer.Typer(
    help="Keys to the HTTP service; the file holds salted hashes alone.",
    epilog="Example: relgnn serve-key add keys.json --name ann --scope write",
    no_args_is_help=True,
    rich_markup_mode=None,
)

KeyFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file of keys.")]


class Scope(StrEnum):
    """What a key may do; each includes those before it."""

    read = "read"
    write = "write"
    admin = "admin"


def serve(
    run: RunFolder,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="OTHER", help="Folder of another run, shown beside this one."),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; they share the model.")] = 1,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--keys", help="File of `relgnn serve-key`; needed to listen beyond this machine."
        ),
    ] = None,
    rate: Annotated[
        float,
        typer.Option(min=0.001, max=1e6, help="Requests a second for each key, or each address."),
    ] = 500.0,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for a request.")] = 10.0,
    queue: Annotated[
        int, typer.Option(min=1, help="Predictions that may wait in a worker; more are told 429.")
    ] = 32,
    cors: Annotated[
        list[str] | None,
        typer.Option(help="An origin whose pages may ask; may be given several times."),
    ] = None,
    withhold: Annotated[
        bool,
        typer.Option(help="Keep private and harmful statements back; see `relgnn audit queue`."),
    ] = True,
    policy: Annotated[
        Path | None,
        typer.Option(help="YAML that says which they are, in place of relgnn/audit/policy.yaml."),
    ] = None,
) -> None:
    """Serve a run over HTTP: its explorer at /, and predict, score, extract, explain; see /docs.

    Logs are lines of JSON on standard error, without texts and keys. Ctrl-C or SIGTERM lets the
    requests under way finish first.
    """
    try:
        from relgnn.serving.settings import Settings
        from relgnn.serving.workers import serve as run_service
    except ImportError:
        # here alone: it brings torch, which the parent of several workers can do without
        from relgnn.runtime import optional_import

        with optional_import("serve"):
            raise

    run_service(
        Settings(
            run=run,
            compare=compare,
            host=host,
            port=port,
            workers=workers,
            keys=key_file,
            rate=rate,
            burst=max(1, round(2 * rate)),
            timeout_s=timeout,
            queue=queue,
            cors=tuple(cors or ()),
            withhold=withhold,
            policy=policy,
        )  # fmt: skip
    )


@keys.command(epilog="Example: relgnn serve-key add keys.json --name ann --scope write")
def add(
    file: KeyFile,
    name: Annotated[str, typer.Option(help="Whose it is; `by` of the verdicts given with it.")],
    scope: Annotated[
        Scope,
        typer.Option(help="read: ask; write: also give feedback; admin: also see the metrics."),
    ] = Scope.read,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it; it cannot be shown again.

    Recorded, without the key, in the audit log beside the file: keys.json has keys.audit.jsonl.
    """
    from relgnn.serving import keys as store

    made = store.KeyFile(file).add(name, store.Scope[scope.value], user())
    if as_json:
        print_json({"name": name, "scope": scope.value, "key": made})
    else:
        print(made)


@keys.command("list", epilog="Example: relgnn serve-key list keys.json")
def list_(file: KeyFile, as_json: AsJson = False) -> None:
    """List the keys: id, name, what they may do, and when they were made."""
    from relgnn.serving import keys as store

    found = [
        {"id": key.id, "name": key.name, "scope": key.scope.name, "created": key.created}
        for key in store.KeyFile(file).keys().values()
    ]
    if as_json:
        print_json(found)
        return
    header = ["id", "name", "scope", "created"]
    print_table(f"{file}: {len(found)} keys", header, [[row[h] for h in header] for row in found])


@keys.command(epilog="Example: relgnn serve-key revoke keys.json ann")
def revoke(
    file: KeyFile,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the key.")],
    as_json: AsJson = False,
) -> None:
    """Remove a key; running services follow at once."""
    from relgnn.serving import keys as store

    gone = store.KeyFile(file).revoke(name, user())
    if as_json:
        print_json({"revoked": gone.id, "name": gone.name})
    else:
        print(f"revoked {gone.name} ({gone.id})")

"""The options that several commands of `aura tpu` share, stated once: which pod, and which run.

A command that takes them has an argument for each: `where` holds values by the attributes of `settings.PodSettings`,
`run` by the names of options of the stage that runs.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

FINDS: dict[str, Any] = {
    "name": Annotated[str | None, typer.Option(help="Name of the pod; default: the variable NAME, then aura.")],
    "project": Annotated[str | None, typer.Option(help="Google Cloud project; default: PROJECT, then gcloud's own.")],
    "zone": Annotated[str | None, typer.Option(help="Such as us-central2-b; default: ZONE.")],
    "internal_ips": Annotated[
        bool | None,
        typer.Option(
            "--internal-ips/--external-ips",
            help="Internal addresses only; default: INTERNAL_IPS, then both.",
        ),
    ],
    "tunnel_through_iap": Annotated[
        bool | None,
        typer.Option(
            "--tunnel-through-iap/--no-tunnel",
            help="Connect through Identity-Aware Proxy; default: TUNNEL_THROUGH_IAP.",
        ),
    ],
}
KIND: dict[str, Any] = {
    "accelerator": Annotated[
        str | None,
        typer.Option(help="v4-32, v5e-16, v5p-128, v6e-16, …; default: ACCELERATOR, then what the pod is, then v4-32."),
    ],
    "slices": Annotated[int | None, typer.Option(help="Number of slices; default: SLICES, then 1.")],
}
MAKES: dict[str, Any] = KIND | {
    "spot": Annotated[
        bool | None, typer.Option("--spot/--on-demand", help="Cheaper, may be taken away; default: SPOT, then spot.")
    ],
    "reserved": Annotated[
        bool | None, typer.Option("--reserved/--unreserved", help="On the project's reservation; default: RESERVED.")
    ],
    "reservation": Annotated[str | None, typer.Option(help="On the reservation of this name; default: RESERVATION.")],
    "network": Annotated[str | None, typer.Option(help="Default: NETWORK, then default.")],
    "subnetwork": Annotated[str | None, typer.Option(help="Default: SUBNETWORK, then the region's.")],
    "service_account": Annotated[
        str | None, typer.Option(help="E-mail of the workers' account; default: SERVICE_ACCOUNT, then the project's.")
    ],
    "labels": Annotated[str | None, typer.Option(help="team=lm,cost=research; default: LABELS.")],
    "tags": Annotated[str | None, typer.Option(help="Network tags, one,two; default: TAGS.")],
    "runtime_version": Annotated[
        str | None,
        typer.Option(help="Image of the TPU VMs; default: RUNTIME_VERSION, then what the accelerator needs."),
    ],
    "valid_until_duration": Annotated[
        str | None, typer.Option(help="Longest wait of a new request, such as 6h; default: VALID_UNTIL_DURATION.")
    ],
}
LAUNCHES: dict[str, Any] = {
    "plan": Annotated[
        bool | None, typer.Option("--plan/--no-plan", help="Prove first that it fits; default: PLAN, then yes.")
    ],
    "delete_on_exit": Annotated[
        bool | None,
        typer.Option(
            "--delete-on-exit/--keep",
            help="Delete the pod at the end, also after an error; default: DELETE_ON_EXIT, then not.",
        ),
    ],
    "port": Annotated[int | None, typer.Option(help="Port where the processes meet; default: PORT, then 8476.")],
}

RUN: dict[str, Any] = {
    "size": Annotated[str | None, typer.Option("--model-size", help="Default: MODEL_SIZE, then pretrain.size.")],
    "seq_len": Annotated[int | None, typer.Option(help="Tokens a sequence; default: SEQ_LEN, then pretrain.seq_len.")],
    "batch_size": Annotated[
        int | None, typer.Option(help="Sequences per step; default: BATCH_SIZE, then the stage's batch_size.")
    ],
    "steps": Annotated[int | None, typer.Option(help="Optimiser steps; default: STEPS, then the stage's steps.")],
}
LEARNS: dict[str, Any] = {
    "learning_rate": Annotated[
        float | None, typer.Option("--lr", help="Peak learning rate; default: LR, then the stage's learning_rate.")
    ],
}

Command = Callable[..., None]


def takes(**groups: dict[str, Any]) -> Callable[[Command], Command]:
    """Give a command the options of each group, before its own; the argument named like the group gets their values."""
    options = {name: option for group in groups.values() for name, option in group.items()}

    def decorate(command: Command) -> Command:
        own = [one for one in inspect.signature(command).parameters.values() if one.name not in groups]
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
            for name, option in options.items()
        ]

        def called(**given: Any) -> None:  # noqa: ANN401 - the command's own arguments
            values = {argument: {name: given.pop(name) for name in group} for argument, group in groups.items()}
            command(**values, **given)

        keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        called.__name__, called.__doc__, called.__module__ = command.__name__, command.__doc__, command.__module__
        called.__signature__ = inspect.Signature([*more, *keywords])  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in (*more, *keywords)}
        return called

    return decorate

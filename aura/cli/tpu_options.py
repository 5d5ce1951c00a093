"""The options of `aura tpu` that say which pod: one for each attribute of `settings.Place`, stated once.

A command that takes them has one argument `where`, and gets in it what was given, by the attributes' names.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

FINDS: dict[str, Any] = {
    "name": Annotated[str | None, typer.Option(help="Of the pod; else the variable NAME, else aura.")],
    "project": Annotated[str | None, typer.Option(help="Google Cloud project; else PROJECT, else gcloud's own.")],
    "zone": Annotated[str | None, typer.Option(help="Such as us-central2-b; else ZONE.")],
    "internal_ips": Annotated[
        bool | None,
        typer.Option(
            "--internal-ips/--external-ips", help="Workers have internal addresses only; else INTERNAL_IPS, else both."
        ),
    ],
    "tunnel_through_iap": Annotated[
        bool | None,
        typer.Option(
            "--tunnel-through-iap/--no-tunnel", help="Connect through Identity-Aware Proxy; else TUNNEL_THROUGH_IAP."
        ),
    ],
}
KIND: dict[str, Any] = {
    "accelerator": Annotated[
        str | None,
        typer.Option(help="v4-32, v5e-16, v5p-128, v6e-16, …; else ACCELERATOR, else what the pod is, else v4-32."),
    ],
    "slices": Annotated[int | None, typer.Option(help="How many of them; else SLICES, else 1.")],
}
MAKES: dict[str, Any] = KIND | {
    "spot": Annotated[
        bool | None, typer.Option("--spot/--on-demand", help="Cheaper, may be taken away; else SPOT, else spot.")
    ],
    "reserved": Annotated[
        bool | None, typer.Option("--reserved/--unreserved", help="On the project's reservation; else RESERVED.")
    ],
    "reservation": Annotated[str | None, typer.Option(help="On the reservation of this name; else RESERVATION.")],
    "network": Annotated[str | None, typer.Option(help="Else NETWORK, else default.")],
    "subnetwork": Annotated[str | None, typer.Option(help="Else SUBNETWORK, else the region's.")],
    "service_account": Annotated[
        str | None, typer.Option(help="E-mail of the workers' account; else SERVICE_ACCOUNT, else the project's.")
    ],
    "labels": Annotated[str | None, typer.Option(help="team=lm,cost=research; else LABELS.")],
    "tags": Annotated[str | None, typer.Option(help="Network tags, one,two; else TAGS.")],
    "runtime_version": Annotated[
        str | None, typer.Option(help="Image of the TPU VMs; else RUNTIME_VERSION, else what the accelerator needs.")
    ],
    "valid_until_duration": Annotated[
        str | None, typer.Option(help="How long a new request may wait, such as 6h; else VALID_UNTIL_DURATION.")
    ],
}
LAUNCHES: dict[str, Any] = {
    "plan": Annotated[
        bool | None, typer.Option("--plan/--no-plan", help="Prove first that it fits; else PLAN, else yes.")
    ],
    "delete_on_exit": Annotated[
        bool | None,
        typer.Option("--delete-on-exit/--keep", help="The pod, however this ends; else DELETE_ON_EXIT, else not."),
    ],
    "port": Annotated[int | None, typer.Option(help="Where the processes of a run meet; else PORT, else 8476.")],
}

Command = Callable[..., None]


def takes(*groups: dict[str, Any]) -> Callable[[Command], Command]:
    """Give a command these options, before its own, and have it called with `where`, what was given of them."""
    options = {name: option for group in groups for name, option in group.items()}

    def decorate(command: Command) -> Command:
        own = [one for one in inspect.signature(command).parameters.values() if one.name != "where"]
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
            for name, option in options.items()
        ]

        def called(**given: Any) -> None:  # noqa: ANN401 - the command's own arguments
            command(**{name: value for name, value in given.items() if name not in options},
                    where={name: given[name] for name in options})  # fmt: skip

        keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        called.__name__, called.__doc__, called.__module__ = command.__name__, command.__doc__, command.__module__
        called.__signature__ = inspect.Signature([*more, *keywords])  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in (*more, *keywords)}
        return called

    return decorate

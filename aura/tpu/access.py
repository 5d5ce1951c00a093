"""Placement of a pod, and the way to its workers: gcloud's options of the same names.

Each option is passed to the commands that know it. Two of them exist in gcloud's alpha track only (528.0.0):
`tpu-vm ssh --tunnel-through-iap` and `queued-resources create --reservation`. Those calls go to that track.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Access:
    """Placement of a pod, and the way to its workers.

    Attributes:
        internal_ips: whether workers have no external address, and are reached by their internal one.
        tunnel_through_iap: whether connections go through Identity-Aware Proxy.
        network: of the project; None for `default`.
        subnetwork: of the network; None for the one of the region.
        service_account: e-mail of the account that workers run as; None for the project's default.
        reserved: whether to use the project's reserved capacity.
        reservation: name of one reservation; None for any.
        labels: `key=value,key=value`.
        tags: network tags, `one,two`.
        runtime_version: image of the TPU VMs; None for the one that fits the accelerator.
        valid_until_duration: how long the request may wait, such as 6h; None for as long as it takes.
    """

    internal_ips: bool = False
    tunnel_through_iap: bool = False
    network: str | None = None
    subnetwork: str | None = None
    service_account: str | None = None
    reserved: bool = False
    reservation: str | None = None
    labels: str | None = None
    tags: str | None = None
    runtime_version: str | None = None
    valid_until_duration: str | None = None

    def creation(self) -> tuple[list[str], list[str]]:
        """The track of gcloud for `queued-resources create`, and its flags but for the runtime version."""
        named = ("network", "subnetwork", "service_account", "reservation", "labels", "tags", "valid_until_duration")
        flags = [f"--{name.replace('_', '-')}={value}" for name in named if (value := getattr(self, name))]
        if self.internal_ips:
            flags.append("--internal-ips")
        if self.reserved and not self.reservation:
            flags.append("--reserved")
        return (["alpha"] if self.reservation else []), flags

    def connection(self) -> tuple[list[str], list[str]]:
        """The track of gcloud for `tpu-vm ssh` and `scp`, and their flags."""
        if self.tunnel_through_iap:
            return ["alpha"], ["--tunnel-through-iap"]
        return [], (["--internal-ip"] if self.internal_ips else [])

"""Meshes whose members have passes."""
import itertools
import os
import re

from lab import BINARY, Gateway, run, wait_for


class Authority:
    """The key that signs passes, in a directory of its own."""

    def __init__(self, lab, name="authority"):
        self.directory = os.path.join(lab.directory, name)
        os.makedirs(self.directory)
        self.key = run(BINARY, "mesh", "create", self.directory).stdout.strip()

    @property
    def file(self):
        return os.path.join(self.directory, "authority.key")

    def admit(self, gateway, *options, name="site.pass", site=None):
        """Writes a pass beside the gateway's configuration, which names it."""
        text = run(BINARY, "mesh", "admit", "--authority", self.file, "--site", site or gateway.name, "--key", gateway.key, *options).stdout
        with open(gateway.path(name), "w") as file:
            file.write(text)
        gateway.settings.update({"mesh.authority": self.key, "pass.file": name, "mesh.state": "state"})

    def revoke(self, gateway):
        """A file with the revocation of the gateway's key."""
        path = os.path.join(self.directory, f"{gateway.name}.revocation")
        with open(path, "w") as file:
            file.write(run(BINARY, "mesh", "revoke", "--authority", self.file, "--key", gateway.key).stdout)
        return path


def add_member(lab, authority, site, seeds, *options, kind="packet", settings=None):
    """A gateway that knows the addresses of some others, and nobody's key. It is not started."""
    gateway = lab.gateways[site] = Gateway(lab, site, kind)
    gateway.settings.update(settings or {})
    authority.admit(gateway, *options)
    for seed in seeds:
        gateway.settings[f"peer.seed{seed}.address"] = lab.endpoint(seed)
    return gateway


def passes(lab, authority=None, seeds=lambda site: [] if site == 1 else [1], options=(), settings=None, start=True):
    """Gateways with passes that find each other; by default all know the first one's address."""
    authority = authority or Authority(lab)
    for site in lab.sites:
        add_member(lab, authority, site, seeds(site), *options, settings=settings)
    if start:
        for gateway in lab.gateways.values():
            gateway.start()
        wait_mesh(lab.gateways.values())
    return authority


def cut_to(lab, links):
    """Only these pairs of sites reach each other over the WAN. Before the gateways start."""
    wanted = {frozenset(link) for link in links}
    lab.cut(*(pair for pair in itertools.combinations(lab.sites, 2) if frozenset(pair) not in wanted))


def ways(gateway):
    """{peer: the names of those that carry to it, last told}; () for one that is reached itself again."""
    found = {}
    for line in gateway.log().splitlines():
        if match := re.search(r"peer (\S+) is reached (?:through (.*)|itself again)$", line):
            found[match.group(1)] = tuple(match.group(2).split(", ")) if match.group(2) else ()
    return found


def wait_mesh(gateways, seconds=15.0):
    """Waits until each of them has all the others as peers that are up."""
    gateways = list(gateways)
    for gateway in gateways:
        others = {other.name for other in gateways if other is not gateway}
        wait_for(f"{gateway.name} up with {sorted(others)}",
                 lambda: gateway.alive() and others <= {name for name, state in gateway.peers().items() if state == "up"}, seconds)

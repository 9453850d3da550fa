"""A plugin for the bench: gateways with passes, of which one carries for the source.

    bench.py --fanout --plugin tools/bench-mesh.py --peer causeway-mesh --opt bin=PATH/TO/causeway

Every site has a pass and knows the first one's address. Site 2 may relay, and the first site counts each further copy on its
own uplink as `copy-cost` (--opt copy-cost=100ms), so that it sends a feed once and site 2 makes the copies. With
--opt copy-cost=0s the first site sends all copies itself.
"""
import json
import os
import time

from peers import REGISTRY, sh

Causeway = REGISTRY["causeway"]


class CausewayMesh(Causeway):
    name = "causeway-mesh"
    relay = 2

    def prepare(self):
        authority = os.path.join(self.lab.dir(1), "authority")
        key = sh(self.binary(), "mesh", "create", authority).strip()
        cost = self.opts.get("copy-cost", "100ms")
        for i in self.lab.sites:
            public = sh(self.binary(), "genkey", f"{self.lab.dir(i)}/site.key").split()[-1]
            options = ["--relay"] if i == self.relay else []
            self.write(i, "site.pass", sh(self.binary(), "mesh", "admit", "--authority", f"{authority}/authority.key",
                                          "--site", f"s{i}", "--key", public, *options))
            lines = [f"site = s{i}", "key.file = site.key", f"listen = {self.lab.wan_ip(i)}:7117",
                     f"control.socket = {self.lab.dir(i)}/control.sock", f"port.lan0.kind = {self.kind}", "port.lan0.device = lan0",
                     f"mesh.authority = {key}", "pass.file = site.pass", "mesh.state = mesh.state"]
            if i == 1:
                lines.append(f"mesh.copy-cost = {cost}")
            else:
                lines.append(f"peer.s1.address = {self.lab.wan_ip(1)}:7117")
            lines += [f"{k[4:]} = {v}" for k, v in self.opts.items() if k.startswith("set.")]
            self.write(i, "causeway.conf", "\n".join(lines) + "\n")

    def show(self, i, what):
        return json.loads(sh("nsenter", f"--net=/run/netns/{self.lab.gw(i)}", self.binary(), "show", what, "--json",
                             "--socket", f"{self.lab.dir(i)}/control.sock"))

    def ready(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                peers = self.show(1, "peers")["peers"]
                if sum(peer["state"] == "up" for peer in peers) == len(self.lab.sites) - 1:
                    break
            except Exception:
                pass
            time.sleep(0.2)
        super().ready()
        # Round trips are measured by and by, and ways are chosen by them.
        time.sleep(3)

"""Sites in network namespaces: hosts, gateways and the WAN between them.

    host h1 eth0 --- lan0 gateway g1 wan0 --- w1 [bridge wbr] w2 --- wan0 gateway g2 lan0 --- eth0 host h2
    10.77.0.1              10.200.0.1                              10.200.0.2              10.77.0.2

Namespaces are named cwt-PID-1-h1 and so on, 1 being the first lab of this process; what a Lab made, and the processes it started, end with `close()`.
Everything that waits is bounded. Sockets are opened inside a namespace by the thread that runs the test.
"""
import contextlib
import ctypes
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("CAUSEWAY_BIN") or os.path.join(ROOT, ".build", "release", "causeway")
PORT = 7117
PREFIX = "cwt-"
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def run(*argv, check=True, timeout=30):
    """Runs a command; its output is text. A failure raises with what it printed."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


@contextlib.contextmanager
def inside(namespace):
    """This thread is in the network namespace; a socket opened here stays there."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        def enter(file):
            if _libc.setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {namespace}")
        enter(there)
        try:
            yield
        finally:
            enter(home)


def wait_for(what, condition, seconds=10.0, every=0.05):
    """The first true value of `condition()`, within so many seconds; else a failure that names `what`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(every)


def remove_leftovers():
    """Ends what is left of labs whose process is gone: what runs in their namespaces, then the namespaces."""
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        match = re.match(re.escape(PREFIX) + r"(\d+)-", name)
        if match and not os.path.exists(f"/proc/{match.group(1)}"):
            for pid in run("ip", "netns", "pids", name, check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", name, check=False)


class Lab:
    """The network of some sites; `mesh()` adds their gateways."""

    live = []           # labs that are up, for the report of a failed test
    made = 0            # so far, by this process

    def __init__(self, sites=2, hosts=1, mtu=1500, lan_mtu=1500, family=4, offloads=True):
        """`mtu` is the underlay's, `family` its IP version; without `offloads` a packet there is at most an MTU long."""
        self.sites = range(1, sites + 1)
        self.hosts = hosts
        self.family = family
        self.gateways = {}
        Lab.made += 1
        self._prefix = f"{PREFIX}{os.getpid()}-{Lab.made}-"
        self._namespaces = []
        self._processes = []
        self._cuts = set()
        self.directory = tempfile.mkdtemp(prefix="cwt-", dir="/tmp")
        Lab.live.append(self)
        try:
            self._build(mtu, lan_mtu, offloads)
        except BaseException:
            self.close()
            raise

    # Names and addresses

    def namespace(self, short):
        return self._prefix + short

    @property
    def wan(self):
        return self.namespace("wan")

    def gw(self, site):
        return self.namespace(f"g{site}")

    def host(self, site, number=1):
        """The namespace of a host: h1 is the first host of site 1, h1-2 the second."""
        return self.namespace(f"h{site}" if number == 1 else f"h{site}-{number}")

    def host_ip(self, site, number=1):
        return f"10.77.{number - 1}.{site}"

    def host_mac(self, site, number=1):
        return f"02:c0:ff:ee:{number:02x}:{site:02x}"

    def wan_ip(self, site):
        return f"10.200.0.{site}" if self.family == 4 else f"fd00:200::{site}"

    def endpoint(self, site):
        return f"{self.wan_ip(site)}:{PORT}" if self.family == 4 else f"[{self.wan_ip(site)}]:{PORT}"

    # Building and removing

    def _add_namespace(self, short):
        name = self.namespace(short)
        run("ip", "netns", "add", name)
        self._namespaces.append(name)
        self.exec(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        for family in ("iptables", "ip6tables", "arptables"):       # bridges forward here, they do not filter
            self.exec(name, "sysctl", "-qw", f"net.bridge.bridge-nf-call-{family}=0", check=False)
        self.ip(name, "link", "set", "lo", "up")
        return name

    def _build(self, mtu, lan_mtu, offloads):
        wan = self._add_namespace("wan")
        self.ip(wan, "link", "add", "wbr", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        self.ip(wan, "addr", "add", "10.200.0.254/24", "dev", "wbr")
        self.ip(wan, "link", "set", "wbr", "up")
        for site in self.sites:
            gw = self._add_namespace(f"g{site}")
            self.ip(gw, "link", "add", "wan0", "mtu", str(mtu), "type", "veth", "peer", "name", f"w{site}", "mtu", str(mtu), "netns", wan)
            self.ip(wan, "link", "set", f"w{site}", "master", "wbr", "up")
            if self.family == 6:
                self.exec(gw, "sysctl", "-qw", "net.ipv6.conf.wan0.disable_ipv6=0")
            self.ip(gw, "addr", "add", self.wan_ip(site) + ("/24" if self.family == 4 else "/64"), "dev", "wan0",
                    *([] if self.family == 4 else ["nodad"]))
            self.ip(gw, "link", "set", "wan0", "up")
            if not offloads:
                for namespace, device in ((gw, "wan0"), (wan, f"w{site}")):
                    self.exec(namespace, "ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off")
            lan = gw
            if self.hosts > 1:          # a switch of its own between lan0 and the hosts
                lan = self._add_namespace(f"l{site}")
                self.ip(lan, "link", "add", "lbr", "mtu", str(lan_mtu), "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
                self.ip(lan, "link", "set", "lbr", "up")
                self.ip(gw, "link", "add", "lan0", "mtu", str(lan_mtu), "type", "veth", "peer", "name", "up0", "mtu", str(lan_mtu), "netns", lan)
                self.ip(lan, "link", "set", "up0", "master", "lbr", "up")
            for number in range(1, self.hosts + 1):
                host = self._add_namespace(self.host(site, number).removeprefix(self._prefix))
                near = "lan0" if self.hosts == 1 else f"p{number}"
                self.ip(lan, "link", "add", near, "mtu", str(lan_mtu), "type", "veth", "peer", "name", "eth0", "mtu", str(lan_mtu),
                        "address", self.host_mac(site, number), "netns", host)
                if self.hosts > 1:
                    self.ip(lan, "link", "set", near, "master", "lbr", "up")
                self.ip(host, "addr", "add", self.host_ip(site, number) + "/16", "dev", "eth0")
                self.ip(host, "link", "set", "eth0", "up")
                self.ip(host, "route", "add", "224.0.0.0/4", "dev", "eth0")
            self.ip(gw, "link", "set", "lan0", "up")

    def close(self):
        for gateway in self.gateways.values():
            gateway.end()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait(5)
        for name in self._namespaces:
            run("ip", "netns", "del", name, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
        if self in Lab.live:
            Lab.live.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Doing things in a namespace

    def ip(self, namespace, *argv):
        return run("ip", "-n", namespace, *argv).stdout

    def exec(self, namespace, *argv, check=True, timeout=30):
        return run("ip", "netns", "exec", namespace, *argv, check=check, timeout=timeout)

    def popen(self, namespace, *argv, **options):
        """A process in a namespace (`ip netns exec` becomes it, so its pid is the program's)."""
        process = subprocess.Popen(["ip", "netns", "exec", namespace, *argv], stdin=subprocess.DEVNULL, text=True, **options)
        self._processes.append(process)
        return process

    def socket(self, namespace, *kind):
        with inside(namespace):
            return socket.socket(*kind)

    # The WAN's links

    def cut(self, *pairs):
        """Nothing crosses the WAN between the two sites of each pair, either way; what they send otherwise does."""
        self._cuts |= {frozenset(pair) for pair in pairs}
        self._apply_cuts()

    def heal(self, *pairs):
        """Undoes `cut` for these pairs; without any, for all."""
        self._cuts -= {frozenset(pair) for pair in pairs} if pairs else set(self._cuts)
        self._apply_cuts()

    def _apply_cuts(self):
        """The whole table at once: there is no moment at which a link that stays cut carries."""
        rules = [f"add rule bridge lab cuts iifname w{a} oifname w{b} drop"
                 for a, b in itertools.chain.from_iterable(itertools.permutations(pair) for pair in self._cuts)]
        text = "\n".join(["add table bridge lab", "delete table bridge lab", "add table bridge lab",
                          "add chain bridge lab cuts { type filter hook forward priority 0 ; }", *rules]) + "\n"
        path = os.path.join(self.directory, "cuts.nft")
        with open(path, "w") as file:
            file.write(text)
        self.exec(self.wan, "nft", "-f", path)

    # Gateways

    def mesh(self, kind="packet", start=True, settings=None, dial=lambda a, b: True):
        """Gateways that all know each other's key, running and connected. `dial(a, b)`: a is told b's address."""
        for site in self.sites:
            self.gateways[site] = Gateway(self, site, kind)
        for site, gateway in self.gateways.items():
            gateway.settings.update(settings or {})
            for other, peer in self.gateways.items():
                if other != site:
                    gateway.add_peer(peer, dial=dial(site, other))
        if start:
            for gateway in self.gateways.values():
                gateway.start()
            for gateway in self.gateways.values():
                gateway.wait_up()
        return list(self.gateways.values())

    def ping(self, site, other, *options, count=3, interval=0.2, wait=2, number=1):
        """`ping` from the first host of one site to a host of another; its output as text. Never raises."""
        argv = ["ping", "-n", "-c", str(count), "-i", str(interval), "-W", str(wait), *options, self.host_ip(other, number)]
        return self.exec(self.host(site), *argv, check=False, timeout=count * max(interval, 0.01) + wait + 20).stdout

    def assert_ping(self, site, other, *options, **named):
        """Every ping is answered, once."""
        out = self.ping(site, other, *options, **named)
        assert re.search(r"\b0% packet loss", out) and "DUP!" not in out, out
        return out

    def assert_no_ping(self, site, other, **named):
        out = self.ping(site, other, count=2, wait=1, **named)
        assert "100% packet loss" in out, out

    def wait_ping(self, site, other, seconds=5.0):
        """Waits until a ping is answered."""
        return wait_for(f"a ping from site {site} to {other}", seconds=seconds, every=0,
                        condition=lambda: "1 received" in self.ping(site, other, count=1, wait=0.2))


class Gateway:
    """One site's `causeway run`: its files, process and answers."""

    def __init__(self, lab, site, kind="packet"):
        self.lab, self.site, self.kind = lab, site, kind
        self.name = f"s{site}"
        self.directory = os.path.join(lab.directory, self.name)
        os.makedirs(self.directory)
        self.config = self.path("site.conf")
        self.control = self.path("control.sock")
        self.process = None
        self.key = self.genkey("site.key")
        # Each a line of the configuration; a test changes them before `start()`.
        self.settings = {
            "site": self.name, "key.file": "site.key", "listen": lab.endpoint(site), "control.socket": self.control,
            "port.lan0.kind": kind, "port.lan0.device": "lan0",
        }
        if kind == "tap":
            self.become_tap()

    def become_tap(self):
        """Before `start()`: lan0 goes into a bridge, where the TAP will join it."""
        self.kind = "tap"
        self.settings.update({"port.lan0.kind": "tap", "port.lan0.device": "tap0"})
        gw = self.lab.gw(self.site)
        self.lab.ip(gw, "link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        self.lab.ip(gw, "link", "set", "lan0", "master", "br0")
        self.lab.ip(gw, "link", "set", "br0", "up")

    def path(self, name):
        return os.path.join(self.directory, name)

    def genkey(self, name):
        """Makes a private key; returns the public one."""
        key = run(BINARY, "genkey", self.path(name)).stdout.split()[-1]
        assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", key), f"genkey printed no key: {key!r}"
        return key

    def add_peer(self, other, key=None, dial=True):
        self.settings[f"peer.{other.name}.key"] = key or other.key
        if dial:
            self.settings[f"peer.{other.name}.address"] = self.lab.endpoint(other.site)

    def write(self):
        with open(self.config, "w") as file:
            file.writelines(f"{key} = {value}\n" for key, value in self.settings.items())

    def start(self):
        self.write()
        with open(self.path("log"), "a") as log:
            self.process = self.lab.popen(self.lab.gw(self.site), BINARY, "run", self.config, stdout=log, stderr=subprocess.STDOUT)
        if self.kind == "tap":
            self.attach_tap()

    def attach_tap(self):
        """As an operator would: the TAP joins the bridge that lan0 is in."""
        gw = self.lab.gw(self.site)
        wait_for(f"tap0 at {self.name}", lambda: self.alive() and run("ip", "-n", gw, "link", "show", "tap0", check=False).returncode == 0)
        self.lab.ip(gw, "link", "set", "tap0", "master", "br0", "up")

    def alive(self):
        assert self.process.poll() is None, f"{self.name} ended with status {self.process.returncode}:\n{self.log()}"
        return True

    def wait_up(self, seconds=10.0):
        """Waits until every configured peer is up."""
        def up():
            self.alive()
            states = self.peers()
            return states and all(state == "up" for state in states.values())
        wait_for(f"all peers of {self.name} up", up, seconds)

    def stop(self, number=signal.SIGTERM, seconds=5.0):
        """Stops it with a signal, returns its exit status. It has so many seconds."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def kill(self):
        self.process.kill()
        self.process.wait(5)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.kill()

    def log(self):
        try:
            with open(self.path("log"), errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    # What it answers

    def show(self, noun):
        """The JSON of `show NOUN`, or None while nobody answers."""
        done = run(BINARY, "show", noun, "--socket", self.control, "--json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def peers(self):
        """{name: state}"""
        return {peer["name"]: peer["state"] for peer in (self.show("peers") or {"peers": []})["peers"]}

    def drops(self):
        """{reason: count}; a reason that is not listed has dropped nothing."""
        return {drop["reason"]: drop["count"] for drop in self.show("drops")["drops"]}

    def group(self, address, vlan="-"):
        """Its record of a multicast group, or None."""
        answer = self.show("groups") or {"groups": []}
        return next((one for one in answer["groups"] if (one["group"], one["vlan"]) == (address, vlan)), None)

    def wish(self, site, address, vlan="-"):
        """What another site told it that it wants of a group; None for nothing."""
        record = self.group(address, vlan)
        return next((one.get("wish") for one in (record["sites"] if record else []) if one["site"] == site), None)

    def port(self, name="lan0"):
        return next(port for port in self.show("ports")["ports"] if port["name"] == name)

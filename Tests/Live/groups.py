"""Multicast in the lab: hosts' sockets in groups, feeds, what arrives and when, crafted IGMP, and what the gateways say of groups.

All namespaces share one kernel and one clock: a feed's datagrams carry when they were sent, `Sniffer.stamped` says when they arrived.
"""
import contextlib
import os
import runpy
import socket
import struct
import threading
import time

from lab import ROOT, inside, wait_for
from wire import Sniffer, mac_bytes

# Protocol constants short enough for a test: K2 = 1 s, K3 = 0.5 s, K8 = 0.2 s; so K4 = 3 s, K10 = 0.4 s, K11 = 2.5 s.
FAST = {f"{protocol}.{key}": value for protocol in ("igmp", "mld") for key, value in (
    ("query-interval", "1s"), ("query-response-interval", "500ms"), ("last-member-query-interval", "200ms"))}
FAST["keepalive"] = "200ms"
K4, K10 = 3.0, 0.4
MARGIN = 0.5            # on top of a protocol's own time, for a machine that is busy
PORT = 26400

MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_SOURCE_GROUP = 46, 47
GROUP_SOURCE_REQUEST = struct.Struct("@I4x128s128s")
IGMP, PIM = 2, 103
FEEDGEN = runpy.run_path(os.path.join(ROOT, "tools", "feedgen"))


def is_v6(address):
    return ":" in address


def packed(address):
    return socket.inet_pton(socket.AF_INET6 if is_v6(address) else socket.AF_INET, address)


def sockaddr(address):
    """A struct sockaddr_storage."""
    if is_v6(address):
        return struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, packed(address), 0).ljust(128, b"\0")
    return struct.pack("=HH4s", socket.AF_INET, 0, packed(address)).ljust(128, b"\0")


def enable_ipv6(lab, site, number=1):
    """The host gets fd77::NUMBER:SITE and a link-local address, at once."""
    host = lab.host(site, number)
    for name, value in (("accept_dad", 0), ("router_solicitations", 0), ("disable_ipv6", 0)):
        lab.exec(host, "sysctl", "-qw", f"net.ipv6.conf.eth0.{name}={value}")
    lab.ip(host, "addr", "add", host_ipv6(site, number) + "/64", "dev", "eth0", "nodad")


def host_ipv6(site, number=1):
    return f"fd77::{number}:{site}"


class Member:
    """A host's socket that joined a group: by IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP, or with a source by MCAST_JOIN_SOURCE_GROUP."""

    def __init__(self, lab, site, group, source=None, number=1):
        namespace = lab.host(site, number)
        family = socket.AF_INET6 if is_v6(group) else socket.AF_INET
        self._socket = lab.socket(namespace, family, socket.SOCK_DGRAM)
        self._lab, self._namespace = lab, namespace
        self._group, self._source = group, source
        with inside(namespace):
            self._index = socket.if_nametoindex("eth0")
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((group, PORT, 0, self._index) if is_v6(group) else (group, PORT))
        self.joined = time.time()
        self._set(joins=True)

    def _set(self, joins):
        level = socket.IPPROTO_IPV6 if is_v6(self._group) else socket.IPPROTO_IP
        if self._source:
            request = GROUP_SOURCE_REQUEST.pack(self._index, sockaddr(self._group), sockaddr(self._source))
            self._socket.setsockopt(level, MCAST_JOIN_SOURCE_GROUP if joins else MCAST_LEAVE_SOURCE_GROUP, request)
        elif is_v6(self._group):
            option = socket.IPV6_JOIN_GROUP if joins else socket.IPV6_LEAVE_GROUP
            self._socket.setsockopt(level, option, packed(self._group) + struct.pack("@I", self._index))
        else:
            option = socket.IP_ADD_MEMBERSHIP if joins else socket.IP_DROP_MEMBERSHIP
            self._socket.setsockopt(level, option, struct.pack("=4s4si", packed(self._group), bytes(4), self._index))

    def leave(self, silent=False):
        """Returns when the host said so on the wire: a busy kernel takes its time, above all for MLD. `silent` when it may say nothing."""
        with Sniffer(self._lab, self._namespace) as wire:
            left = time.time()
            self._set(joins=False)
            self._socket.close()
            if silent:
                return left
            said = wire.stamped(seconds=3, count=1, quiet=0, wanted=lambda data: is_leave(data, self._group))
            assert said, f"the host did not say that it leaves {self._group}"
            return said[0][0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()


class Feed:
    """A host that sends numbered datagrams to a group at a steady pace, from `with` to its end."""

    def __init__(self, lab, site, group, number=1, every=0.004, size=200, hops=8):
        namespace = lab.host(site, number)
        family = socket.AF_INET6 if is_v6(group) else socket.AF_INET
        self._socket = lab.socket(namespace, family, socket.SOCK_DGRAM)
        with inside(namespace):
            index = socket.if_nametoindex("eth0")
        if is_v6(group):
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hops)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", bytes(4), bytes(4), index))
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, hops)
        self._group, self._every, self._size = group, every, size
        self.sent = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        due = time.monotonic()
        while not self._ends.is_set():
            self._socket.sendto(struct.pack("!Q", self.sent).ljust(self._size, b"."), (self._group, PORT))
            self.sent += 1
            due = max(due + self._every, time.monotonic() - self._every)
            time.sleep(max(0, due - time.monotonic()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join(5)
        self._socket.close()


class Watch(Sniffer):
    """What reaches a host, seen on its device: it need not have joined."""

    def __init__(self, lab, site=None, number=1, namespace=None, device="eth0", outgoing=False):
        super().__init__(lab, namespace or lab.host(site, number), device, outgoing)

    def arrivals(self, group, seconds=0.2, count=None, quiet=0.05):
        """[(when, number)] of a feed's datagrams: what waits already, and what comes in so many seconds or until `count` did."""
        return [(when, feed_number(data)) for when, data in self.stamped(seconds, count, lambda data: goes_to(data, group), quiet)]

    def first(self, group, seconds=3.0):
        """When the first of the feed that is not read yet arrived, and its number."""
        found = self.arrivals(group, seconds, count=1, quiet=0)
        assert found, f"nothing of {group} within {seconds:g} s"
        return found[0]

    def membership(self, seconds=0.2):
        """IGMP and MLD messages, as scapy decodes them."""
        return [decode(data) for data in self.frames(seconds, wanted=is_membership)]


def network_header(data):
    """(ethertype, offset behind the tags)."""
    at = 12
    while data[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    return struct.unpack_from("!H", data, at)[0], at + 2


def goes_to(data, group):
    """Is this UDP to the group?"""
    ethertype, at = network_header(data)
    if ethertype == 0x0800 and not is_v6(group):
        return data[at + 9] == 17 and data[at + 16:at + 20] == packed(group)
    return ethertype == 0x86DD and is_v6(group) and data[at + 6] == 17 and data[at + 24:at + 40] == packed(group)


def feed_number(data):
    ethertype, at = network_header(data)
    return struct.unpack_from("!Q", data, at + (28 if ethertype == 0x0800 else 48))[0]


def is_membership(data):
    """IGMP, or MLD behind its hop-by-hop header."""
    ethertype, at = network_header(data)
    if ethertype == 0x0800:
        return data[at + 9] == IGMP
    return ethertype == 0x86DD and data[at + 6] == 0 and data[at + 40] == 58 and data[at + 48] in (130, 131, 132, 143)


def is_leave(data, address):
    """A message by which a host leaves a group, or a source of it."""
    ethertype, at = network_header(data)
    if not is_membership(data) or packed(address) not in data[at + 20:]:
        return False
    kind = data[at + 4 * (data[at] & 15)] if ethertype == 0x0800 else data[at + 48]
    if kind in (0x22, 143):         # the record's type is 4 octets before its group
        return data[data.rindex(packed(address)) - 4] in (3, 6)
    return kind in (0x17, 132)


def decode(data):
    import scapy.contrib.igmp
    import scapy.contrib.igmpv3  # noqa: F401: makes scapy decode it
    from scapy.layers.l2 import Ether
    return Ether(data)


def igmp(destination, message, source=("02:c0:ff:ee:77:01", "10.77.9.9"), vlan=None, fix=True, options=b"\x94\x04\0\0", **ip):
    """A frame with an IGMP message; with `fix` the checksum is put right."""
    if fix:
        message = message[:2] + struct.pack("!H", FEEDGEN["checksum"](message[:2] + b"\0\0" + message[4:])) + message[4:]
    packet = FEEDGEN["ipv4"](source[1], destination, IGMP, message, ttl=1, options=options, tos=0xC0, **ip)
    return FEEDGEN["ethernet"](FEEDGEN["group_mac"](destination), source[0], 0x0800, packet, vlan)


def join_report(group, kind=4, sources=()):
    """An IGMPv3 report with one record; kind 4 is CHANGE_TO_EXCLUDE, 3 CHANGE_TO_INCLUDE."""
    return struct.pack("!BBHHH", 0x22, 0, 0, 0, 1) + struct.pack("!BBH", kind, 0, len(sources)) + packed(group) + b"".join(map(packed, sources))


def datagram(group, number, source, vlan=None, size=100):
    """A feed's frame, as `Feed` makes it; `source` is (MAC, address)."""
    body = struct.pack("!Q", number).ljust(size, b".")
    udp = FEEDGEN["udp"](source[1], group, PORT, PORT, body)
    return FEEDGEN["ethernet"](FEEDGEN["group_mac"](group), source[0], 0x0800, FEEDGEN["ipv4"](source[1], group, 17, udp, ttl=8), vlan)


def gateway_mac(lab, site):
    """Of its port to the LAN, as octets."""
    return mac_bytes(lab.exec(lab.gw(site), "cat", "/sys/class/net/lan0/address").stdout.strip())


# What gateways say

def members(gateway, address, vlan="-"):
    """{address: member} of a group's hosts."""
    record = gateway.group(address, vlan)
    return {one["address"]: one for port in (record["ports"] if record else []) for one in port["members"]}


def wait_wish(gateway, site, address, vlan="-", seconds=3.0):
    return wait_for(f"{gateway.name} knows that {site} wants {address}", lambda: gateway.wish(site, address, vlan), seconds)


def wait_no_wish(gateway, site, address, vlan="-", seconds=3.0):
    wait_for(f"{gateway.name} knows that {site} does not want {address}", lambda: not gateway.wish(site, address, vlan), seconds)


def rules(gateway):
    """{name: count} of everything that was ignored or refused."""
    return {rule["name"]: rule["count"] for rule in gateway.show("rules")["rules"]}


@contextlib.contextmanager
def forced_version(lab, site, protocol, version, number=1):
    """The host's kernel speaks this version of `igmp` or `mld`, whatever it hears."""
    family = "ipv4" if protocol == "igmp" else "ipv6"
    name = f"net.{family}.conf.eth0.force_{protocol}_version"
    lab.exec(lab.host(site, number), "sysctl", "-qw", f"{name}={version}")
    try:
        yield
    finally:
        lab.exec(lab.host(site, number), "sysctl", "-qw", f"{name}=0")

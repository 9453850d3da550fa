"""Frames on the wire: sending, sniffing with the VLAN tag put back, feeds, and what a namespace's kernel counted."""
import os
import runpy
import select
import socket
import struct
import time

from lab import ROOT, inside, wait_for

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 263, 8, 23
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35
TIMESPEC = struct.Struct("@qq")
AUXDATA = struct.Struct("=IIIHHHH")             # status, length, captured, mac, net, VLAN TCI, VLAN TPID
VLAN_VALID, VLAN_TPID_VALID = 1 << 4, 1 << 6
EXPERIMENTAL = 0x88B5                           # IEEE 802 local experimental ethertype: no kernel acts on it
BROADCAST = "ff:ff:ff:ff:ff:ff"


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def frame(destination, source, ethertype=EXPERIMENTAL, payload=b"", size=0, tags=()):
    """A frame; `tags` are (ethertype, TCI) from the outside in; padded with a pattern to `size` octets."""
    data = mac_bytes(destination) + mac_bytes(source)
    data += b"".join(struct.pack("!HH", tpid, tci) for tpid, tci in tags)
    data += struct.pack("!H", ethertype) + payload
    return data + bytes(i & 0xFF for i in range(len(data), max(size, 60)))


class Sniffer:
    """Every frame on a device, whole, as it was on the wire: a tag that the kernel took off is put back."""

    def __init__(self, lab, namespace, device="eth0", outgoing=True):
        with inside(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 0 if outgoing else 1)
            self._socket.bind((device, ETH_P_ALL))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def _next(self):
        """When it was seen, in seconds since 1970, and the frame."""
        data, ancillary, _, _ = self._socket.recvmsg(1 << 17, socket.CMSG_SPACE(AUXDATA.size) + socket.CMSG_SPACE(TIMESPEC.size))
        when = time.time()
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = TIMESPEC.unpack(value[:TIMESPEC.size])
                when = seconds + nanoseconds / 1e9
            if level == SOL_PACKET and kind == PACKET_AUXDATA:
                status, _, _, _, _, tci, tpid = AUXDATA.unpack(value[:AUXDATA.size])
                if status & VLAN_VALID:
                    tpid = tpid if status & VLAN_TPID_VALID else 0x8100
                    data = data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
        return when, data

    def frames(self, seconds=3.0, count=None, wanted=lambda data: True, quiet=0.3):
        """The frames that are `wanted`, until `count` came and then nothing more for `quiet` seconds, at most so many seconds."""
        return [data for _, data in self.stamped(seconds, count, wanted, quiet)]

    def stamped(self, seconds=3.0, count=None, wanted=lambda data: True, quiet=0.3):
        """The same, each with the time at which the kernel saw it."""
        found, deadline = [], time.monotonic() + seconds
        while True:
            enough = count is not None and len(found) >= count
            wait = min(quiet, deadline - time.monotonic()) if enough else deadline - time.monotonic()
            if wait <= 0 or not select.select([self._socket], [], [], wait)[0]:
                return found
            when, data = self._next()
            if wanted(data):
                found.append((when, data))


def transmit(lab, namespace, frames, device="eth0", burst=20, pause=0.002):
    """Puts frames on a device, so many at once and then a pause in seconds."""
    with lab.socket(namespace, socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((device, 0))
        for number, data in enumerate(frames):
            if number and number % burst == 0:
                time.sleep(pause)
            sock.send(data)


def assert_cross(lab, frames, a=1, b=2, **pace):
    """Frames sent at site a's host reach site b's host: every one once, in order, byte for byte; none comes back."""
    ours = mac_bytes(lab.host_mac(a))
    with Sniffer(lab, lab.host(b), outgoing=False) as far, Sniffer(lab, lab.host(a), outgoing=False) as near:
        transmit(lab, lab.host(a), frames, **pace)
        seen = far.frames(count=len(frames), wanted=lambda data: data[6:12] == ours)
        back = near.frames(seconds=0.1, wanted=lambda data: data[6:12] == ours)
    difference = next((i for i, (x, y) in enumerate(zip(seen, frames)) if x != y), min(len(seen), len(frames)))
    assert seen == frames, (f"{len(frames)} frames sent, {len(seen)} arrived; the first that differs is {difference}:\n"
                            f"sent    {frames[difference].hex() if difference < len(frames) else 'nothing'}\n"
                            f"arrived {seen[difference].hex() if difference < len(seen) else 'nothing'}")
    assert not back, f"{len(back)} frames came back to the LAN they came from"


def feed(count, groups=4, seed=1):
    """Frames of a market-data feed as tools/feedgen makes it."""
    import random
    generator = runpy.run_path(os.path.join(ROOT, "tools", "feedgen"))
    return generator["SOURCE"][0], [data for _, data in generator["feed"](random.Random(seed), groups, count)]


class Receiver:
    """A host's socket that has joined a multicast group, and every gateway that runs knows of it."""

    def __init__(self, lab, site, group="239.192.0.1", port=26400):
        self._socket = lab.socket(lab.host(site), socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.bind((group, port))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(lab.host_ip(site)))
        for other, gateway in lab.gateways.items():
            if other != site:
                wait_for(f"{gateway.name} knows of the join", lambda gateway=gateway: gateway.wish(f"s{site}", group))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def numbers(self, count, seconds=5.0):
        """The numbers of the datagrams that arrive, until `count` did and then none for a moment."""
        found, deadline = [], time.monotonic() + seconds
        while True:
            wait = min(0.3, deadline - time.monotonic()) if len(found) >= count else deadline - time.monotonic()
            if wait <= 0 or not select.select([self._socket], [], [], wait)[0]:
                return found
            found.append(struct.unpack_from("!Q", self._socket.recv(65536))[0])


def send_numbered(lab, site, count, group="239.192.0.1", port=26400, size=76, burst=60, pause=0.005):
    """A host sends `count` numbered datagrams to a group, in bursts."""
    with lab.socket(lab.host(site), socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(lab.host_ip(site)))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        for number in range(count):
            if number and number % burst == 0:
                time.sleep(pause)
            sock.sendto(struct.pack("!Q", number).ljust(size, b"."), (group, port))


def udp_payload(data):
    """The payload of an untagged IPv4 or IPv6 UDP frame without extension headers; None if it is something else."""
    ethertype = struct.unpack_from("!H", data, 12)[0]
    if ethertype == 0x0800 and data[23] == 17:
        return data[14 + 4 * (data[14] & 15) + 8:]
    if ethertype == 0x86DD and data[20] == 17:
        return data[62:]
    return None


def kernel_counters(lab, namespace, protocol="Tcp"):
    """{name: value} of one protocol in a namespace's /proc/net/snmp."""
    lines = [line.split() for line in lab.exec(namespace, "cat", "/proc/net/snmp").stdout.splitlines() if line.startswith(protocol + ":")]
    return dict(zip(lines[0][1:], map(int, lines[1][1:])))


def network_frame_size(data):
    """Octets of a frame behind its Ethernet header and tags: what a device's MTU bounds."""
    at = 12
    while data[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    return len(data) - at - 2

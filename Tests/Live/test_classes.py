"""Traffic classes between real kernels: what the WAN sees, what a mark on the WAN comes to, and feeds beside bulk at a rate."""
import socket
import struct
import threading
import time

import pytest

from lab import inside, wait_for
from wire import Receiver, Sniffer, send_numbered, udp_payload

CE = 3


def octet(data):
    """The traffic class octet of an untagged IPv4 or IPv6 frame."""
    if data[12:14] == b"\x08\x00":
        return data[15]
    return (struct.unpack_from("!H", data, 14)[0] >> 4) & 0xFF


def send_marked(lab, site, other, tos, count=20, size=200, port=9000):
    """A host sends datagrams with this traffic class octet to another site's host."""
    with lab.socket(lab.host(site), socket.AF_INET, socket.SOCK_DGRAM) as sock, \
            lab.socket(lab.host(other), socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("", port))       # nobody answers that the port is closed
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        for number in range(count):
            sock.sendto(struct.pack("!Q", number).ljust(size, b"."), (lab.host_ip(other), port))
            time.sleep(0.002)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("connect", ["off", "on"])
def test_the_wan_sees_the_code_point(make_lab, family, connect):
    lab = make_lab(family=family)
    lab.mesh(settings={"offload.connect": connect})
    lab.wait_ping(1, 2)
    for tos in (46 << 2, 8 << 2, 10 << 2, 46 << 2 | 2):
        with Sniffer(lab, lab.wan, "w1") as wan:
            send_marked(lab, 1, 2, tos)
            seen = [octet(data) for data in wan.frames(seconds=0.5) if udp_payload(data) and len(udp_payload(data)) > 200]
        assert seen and set(seen) == {tos}, (tos, seen)


def test_configured_code_points(make_lab):
    lab = make_lab()
    lab.mesh(settings={"class.feed.dscp": "ef", "class.normal.dscp": "af11", "class.control.dscp": "cs5"})
    lab.wait_ping(1, 2)
    with Receiver(lab, 2), Sniffer(lab, lab.wan, "w1") as wan:
        send_numbered(lab, 1, 100, size=300)
        send_marked(lab, 1, 2, 0)
        outer = [data for data in wan.frames(seconds=2.5) if udp_payload(data)]
    points = {octet(data) >> 2 for data in outer if udp_payload(data)[0] == 4}
    assert points == {46, 10, 40}, points


def relay_with_marks(lab, seconds):
    """Forwards frames between w1 and w2 by hand for so long; ECT becomes CE on the way."""
    with inside(lab.wan):
        ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) for _ in range(2)]
        for end, device in zip(ends, ("w1", "w2")):
            end.setsockopt(263, 23, 1)          # PACKET_IGNORE_OUTGOING
            end.bind((device, 3))
            end.setblocking(False)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        idle = True
        for here, there in (ends, ends[::-1]):
            try:
                data = bytearray(here.recv(65536))
            except BlockingIOError:
                continue
            idle = False
            if data[12:14] == b"\x08\x00" and data[15] & 3 in (1, 2):
                data[15] |= CE
                data[24:26] = b"\0\0"
                total = sum(struct.unpack("!10H", bytes(data[14:34])))
                while total >> 16:
                    total = (total & 0xFFFF) + (total >> 16)
                data[24:26] = struct.pack("!H", ~total & 0xFFFF)
            elif data[12:14] == b"\x86\xdd" and (data[15] >> 4) & 3 in (1, 2):
                data[15] |= CE << 4
            there.send(data)
        if idle:
            time.sleep(0.0005)
    for end in ends:
        end.close()


@pytest.mark.parametrize("family", [4, 6])
def test_a_mark_on_the_wan_arrives_in_the_frame(make_lab, family):
    """Without offloads, so that what the relay sees is single packets with whole checksums."""
    lab = make_lab(family=family, offloads=False)
    for namespace, device in [(lab.gw(site), "wan0") for site in lab.sites]:
        lab.exec(namespace, "ethtool", "-K", device, "tx", "off")
    for site in lab.sites:
        lab.ip(lab.wan, "link", "set", f"w{site}", "nomaster")
    thread = threading.Thread(target=relay_with_marks, args=(lab, 12))
    thread.start()
    try:
        lab.mesh()
        lab.wait_ping(1, 2)
        for tos, expected in ((46 << 2 | 2, 46 << 2 | CE), (1, CE), (46 << 2, 46 << 2)):
            with Sniffer(lab, lab.host(2), outgoing=False) as far:
                send_marked(lab, 1, 2, tos)
                seen = [data for data in far.frames(seconds=0.5) if data[12:14] == b"\x08\x00" and data[36:38] == struct.pack("!H", 9000)]
            assert len(seen) == 20 and {octet(data) for data in seen} == {expected}, [octet(data) for data in seen]
            for data in seen:
                total = sum(struct.unpack("!10H", data[14:34]))
                assert (total & 0xFFFF) + (total >> 16) == 0xFFFF, "the checksum of the frame's IP header"
        assert lab.gateways[2].drops()["congestion-unmarked"] == 0
    finally:
        thread.join()


def test_a_feed_beside_bulk_at_a_rate(make_lab):
    """A WAN of 20 Mbit, a rate just below, three times as much bulk: the feed loses nothing."""
    lab = make_lab()
    lab.exec(lab.wan, "tc", "qdisc", "add", "dev", "w2", "root", "tbf", "rate", "20mbit", "burst", "32k", "latency", "20ms")
    gateways = lab.mesh(start=False)
    gateways[0].settings["peer.s2.rate"] = "18Mbit"
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.wait_up()
    lab.wait_ping(1, 2)
    server = lab.popen(lab.host(2), "iperf3", "-s", "-1")
    wait_for("iperf3's server", lambda: ":5201" in lab.exec(lab.host(2), "ss", "-Hltn").stdout)
    bulk = lab.popen(lab.host(1), "iperf3", "-c", lab.host_ip(2), "-u", "-b", "60M", "-l", "1200", "-t", "6", "-S", "32")
    with Receiver(lab, 2) as receiver:
        time.sleep(1)
        send_numbered(lab, 1, 4000, burst=5, pause=0.005)
        assert receiver.numbers(4000) == list(range(4000))
    bulk.wait(20)
    server.kill()
    peer = next(peer for peer in gateways[0].show("peers")["peers"] if peer["name"] == "s2")
    classes = {one["name"]: one for one in peer["classes"]}
    assert classes["bulk"]["dropped"] > 5000 and classes["feed"]["dropped"] == 0, classes
    assert classes["feed"]["frames_out"] >= 4000, classes

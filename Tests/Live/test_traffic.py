"""What hosts of two sites do with each other, through gateways on packet sockets and through TAPs in a bridge."""
import contextlib
import json
import re
import subprocess

import pytest

from lab import wait_for
from wire import BROADCAST, Receiver, assert_cross, feed, frame, kernel_counters, mac_bytes, send_numbered

SIZES = [60, 61, 63, 64, 65, 100, 118, 127, 128, 129, 255, 256, 302, 511, 512, 838, 1023, 1024, 1280, 1400, 1499, 1500, 1513, 1514]


@pytest.fixture(scope="module", params=["packet", "tap"])
def pair(request, make_module_lab):
    """Two connected sites."""
    lab = make_module_lab()
    lab.mesh(request.param)
    return lab


def iperf(lab, *options):
    """iperf3 from site 1's host to site 2's; its JSON."""
    server = lab.popen(lab.host(2), "iperf3", "-s", "-1", stdout=subprocess.DEVNULL)
    wait_for("iperf3's server", lambda: ":5201" in lab.exec(lab.host(2), "ss", "-Hltn").stdout)
    try:
        done = lab.exec(lab.host(1), "iperf3", "-c", lab.host_ip(2), "-J", "--connect-timeout", "5000", *options, check=False, timeout=20)
    finally:
        server.kill()
        server.wait(5)
    result = json.loads(done.stdout)
    assert "error" not in result, result["error"]
    return result["end"]


def test_ping_and_arp(pair):
    pair.ip(pair.host(1), "neigh", "flush", "all")
    pair.ip(pair.host(2), "neigh", "flush", "all")
    pair.assert_ping(1, 2)
    pair.assert_ping(2, 1)
    for site, other in ((1, 2), (2, 1)):
        entry = pair.ip(pair.host(site), "neigh", "show", pair.host_ip(other))
        assert pair.host_mac(other) in entry, entry


def test_full_size_frames(pair):
    pair.assert_ping(1, 2, "-M", "do", "-s", "1472")
    pair.assert_ping(2, 1, "-M", "do", "-s", "1472")


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_tcp(pair, direction):
    """With the hosts' offloads on: super-frames and unfinished checksums arrive at the gateways."""
    before = {site: kernel_counters(pair, pair.host(site)) for site in (1, 2)}
    end = iperf(pair, "-t", "3", *(["-R"] if direction == "reverse" else []))
    rate = end["sum_received"]["bits_per_second"] / 1e6
    assert rate > 50, f"{rate:.1f} Mbit/s"
    for site in (1, 2):
        after = kernel_counters(pair, pair.host(site))
        wrong = after["InCsumErrors"] - before[site]["InCsumErrors"]
        assert wrong == 0, f"{wrong} segments with a wrong checksum at site {site}"


def test_udp(pair):
    """10 Mbit/s in datagrams of 1000 bytes: none is lost."""
    before = kernel_counters(pair, pair.host(2), "Udp")
    end = iperf(pair, "-u", "-b", "10M", "-l", "1000", "-t", "3")
    assert end["sum"]["packets"] > 3000 and end["sum"]["lost_packets"] == 0, end["sum"]
    assert kernel_counters(pair, pair.host(2), "Udp")["InCsumErrors"] == before["InCsumErrors"]


def test_multicast_feed(pair):
    """A host joins by IGMP; numbered datagrams in bursts all arrive, once and in order."""
    with Receiver(pair, 2) as receiver:
        send_numbered(pair, 1, 5000)
        assert receiver.numbers(5000) == list(range(5000))


def test_market_data(pair):
    """Captured feeds' sizes and bursts, byte for byte, to a host that has joined their groups."""
    source, frames = feed(2000)
    ours = mac_bytes(pair.host_mac(1))
    frames = [data[:6] + ours + data[12:] for data in frames]
    assert mac_bytes(source) != ours
    with contextlib.ExitStack() as joined:
        for number in range(1, 5):
            joined.enter_context(Receiver(pair, 2, f"239.192.0.{number}"))
        assert_cross(pair, frames, burst=60, pause=0.005)


def test_every_size(pair):
    frames = [frame(BROADCAST, pair.host_mac(1), size=size) for size in SIZES]
    assert_cross(pair, frames + frames[::-1])


@pytest.mark.parametrize("destination", ["unicast", "broadcast", "multicast", "unknown"])
def test_destinations(pair, destination):
    # Multicast that is not IP is flooded, whatever its address.
    address = {"unicast": pair.host_mac(2), "broadcast": BROADCAST, "multicast": "01:00:5e:01:02:03",
               "unknown": "02:12:34:56:78:9a"}[destination]
    assert_cross(pair, [frame(address, pair.host_mac(1), payload=bytes([n]) * 40) for n in range(50)])


@pytest.mark.parametrize("tags, most", [
    ([(0x8100, 100)], 1518),
    ([(0x8100, 0xE000 | 4094)], 1518),                          # priority 7
    ([(0x8100, 0x1000 | 7)], 1518),                             # drop eligible
    ([(0x8100, 0xA000)], 1518),                                 # a priority tag: VLAN 0
    ([(0x88A8, 200)], 1514),
    ([(0x88A8, 200), (0x8100, 100)], 1514),
    ([(0x8100, 10), (0x8100, 20)], 1518),
    ([(0x88A8, 0x6000 | 1), (0x88A8, 2), (0x8100, 3)], 1514),
], ids=["802.1Q", "priority-7", "drop-eligible", "priority-tag", "802.1ad", "802.1ad-802.1Q", "Q-in-Q", "three-tags"])
def test_vlan_tags(pair, tags, most):
    sizes = [size for size in (60, 64, 68, 118, 600, 1500, 1514, 1518) if size <= most]
    assert_cross(pair, [frame(address, pair.host_mac(1), tags=tags, size=size)
                        for address in (BROADCAST, pair.host_mac(2), "01:00:5e:00:00:05") for size in sizes])


def test_scapy_vlan_frames(pair):
    """Whole packets inside tags, as scapy builds them."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
    ether = Ether(src=pair.host_mac(1), dst=pair.host_mac(2))
    packet = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=1, dport=2) / (b"x" * 300)
    arp = ARP(hwsrc=pair.host_mac(1), psrc="192.0.2.1", pdst="192.0.2.2")
    made = [ether / Dot1Q(vlan=100) / packet, ether / Dot1Q(vlan=0, prio=5) / packet, ether / Dot1AD(vlan=5) / Dot1Q(vlan=6) / packet,
            Ether(src=pair.host_mac(1), dst=BROADCAST) / Dot1Q(vlan=100) / arp]
    assert_cross(pair, [bytes(one).ljust(64, b"\0") for one in made])


def test_every_kind_of_frame(pair):
    """Ethertypes that a gateway might take an interest in, with contents that are wrong for them; and LLC."""
    frames = [frame(pair.host_mac(2), pair.host_mac(1), ethertype, bytes(range(n, n + 60)))
              for n, ethertype in enumerate([0x0800, 0x0806, 0x86DD, 0x8035, 0x8100, 0x88A8, 0x8808, 0x8809, 0x8847, 0x8863, 0x8864, 0x888E,
                                             0x88B8, 0x88CC, 0x88E5, 0x88F7, 0x8902, 0x9000, 0x9100, 0xFFFF])]
    frames = [data.ljust(80, b"\x5a") for data in frames]
    for size in (3, 17, 46, 100, 1000, 1500):                   # IEEE 802.3 length: LLC, padded if short
        frames.append(frame(pair.host_mac(2), pair.host_mac(1), size, b"\x42\x42\x03" + bytes(size - 3)))
    assert_cross(pair, frames)


def test_flood_ping(pair):
    out = pair.assert_ping(1, 2, count=500, interval=0.002)
    assert re.search(r"500 received", out)

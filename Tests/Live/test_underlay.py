"""What crosses the WAN, and which WANs can be crossed."""
import os
import struct

import pytest

from lab import PORT
from wire import BROADCAST, Sniffer, assert_cross, frame, mac_bytes, transmit, udp_payload


def outer_fragments(frames):
    """Those IPv4 frames that are fragments."""
    return [data for data in frames if data[12:14] == b"\x08\x00" and struct.unpack_from("!H", data, 20)[0] & 0x3FFF]


@pytest.mark.parametrize("mtu", [1500, 1280])
def test_full_size_frames_without_ip_fragments(make_lab, mtu):
    """1500-byte packets of the hosts over this underlay, which sees one packet of at most its MTU at a time."""
    lab = make_lab(mtu=mtu, offloads=False)
    lab.mesh(settings={"path.mtu": str(mtu)})
    with Sniffer(lab, lab.wan, "w1") as wan:
        lab.assert_ping(1, 2, "-M", "do", "-s", "1472")
        lab.assert_ping(2, 1, "-M", "do", "-s", "1472")
        frames = [frame(BROADCAST, lab.host_mac(1), payload=os.urandom(20), size=size) for size in (1514, 1514, 60, 1514, 800) * 60]
        assert_cross(lab, frames)
        outer = wan.frames(seconds=1)
    tunnel = [data for data in outer if udp_payload(data) is not None]
    assert sum(map(len, tunnel)) > 300 * 1000, "the sniffer missed the tunnel"
    assert not outer_fragments(outer), "IP fragments on the underlay"
    assert max(map(len, tunnel)) <= mtu + 14, f"a packet of {max(map(len, tunnel)) - 14} bytes on the underlay"


def test_jumbo_frames_over_a_1500_byte_underlay(make_lab):
    lab = make_lab(lan_mtu=9000, offloads=False)
    lab.mesh()
    with Sniffer(lab, lab.wan, "w1") as wan:
        lab.assert_ping(1, 2, "-M", "do", "-s", "8972")
        assert_cross(lab, [frame(lab.host_mac(2), lab.host_mac(1), size=size) for size in (9014, 60, 9014, 4000, 9013) * 20], burst=5)
        outer = wan.frames(seconds=1)
    assert not outer_fragments(outer), "IP fragments on the underlay"


def test_ipv6_underlay(make_lab):
    lab = make_lab(family=6)
    lab.mesh()
    with Sniffer(lab, lab.wan, "w1") as wan:
        lab.assert_ping(1, 2, "-M", "do", "-s", "1472")
        outer = wan.frames(seconds=0.5)
    assert [data for data in outer if data[12:14] == b"\x86\xdd" and udp_payload(data)], "no IPv6 UDP on the underlay"
    assert_cross(lab, [frame(BROADCAST, lab.host_mac(1), size=size) for size in (60, 500, 1514) * 20])


def test_nothing_is_readable_on_the_underlay(make_lab):
    """Neither a marker in the payload nor a host's MAC address; and nothing but the tunnel's UDP and the WAN's own ARP."""
    lab = make_lab()
    lab.mesh()
    marker = b"causeway-in-clear-" + os.urandom(14)
    inner = [frame(destination, lab.host_mac(1), payload=marker * count)
             for destination in (BROADCAST, lab.host_mac(2), "02:12:34:56:78:9a") for count in (1, 2, 10, 40)] * 10
    with Sniffer(lab, lab.wan, "w1") as wan, Sniffer(lab, lab.host(2), outgoing=False) as lan:
        lab.assert_ping(1, 2, "-p", marker[:16].hex(), "-s", "200")
        transmit(lab, lab.host(1), inner)
        seen = lan.frames(count=len(inner), wanted=lambda data: marker in data)
        outer = wan.frames(seconds=1)
    assert len(seen) == len(inner), "the marker did not even arrive"
    assert sum(map(len, outer)) > sum(map(len, inner)), "the sniffer missed the tunnel"
    capture = b"".join(outer)
    for secret in (marker, marker[:16], mac_bytes(lab.host_mac(1)), mac_bytes(lab.host_mac(2))):
        assert secret not in capture, f"{secret!r} in clear"
    for data in outer:
        assert data[12:14] == b"\x08\x06" or udp_payload(data) is not None and struct.unpack_from("!H", data, 36)[0] == PORT, data[:60].hex()

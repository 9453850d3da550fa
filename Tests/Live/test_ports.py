"""Each kind of LAN port, and what a port does beside carrying frames."""
import json
import time

import pytest

from wire import BROADCAST, Receiver, Sniffer, assert_cross, frame, mac_bytes, send_numbered, transmit


def test_pcap_port(make_lab):
    """The portable kind. It sees no offload metadata, so the hosts finish their own checksums."""
    lab = make_lab()
    for site in (1, 2):
        lab.exec(lab.host(site), "ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off")
    lab.mesh("pcap")
    lab.assert_ping(1, 2, "-M", "do", "-s", "1472")
    lab.assert_ping(2, 1)
    assert_cross(lab, [frame(BROADCAST, lab.host_mac(1), tags=tags, size=size)
                       for tags in ([], [(0x8100, 100)], [(0x88A8, 5), (0x8100, 6)]) for size in (60, 118, 1514)])
    with Receiver(lab, 2) as receiver:
        send_numbered(lab, 1, 500, burst=20)
        assert receiver.numbers(500) == list(range(500))


def test_kinds_mix(make_lab):
    """A site with a packet socket, one with a TAP, one with libpcap."""
    lab = make_lab(sites=3)
    lab.exec(lab.host(3), "ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off")
    gateways = lab.mesh(start=False)
    gateways[2].settings["port.lan0.kind"] = "pcap"
    gateways[1].become_tap()
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.wait_up()
    for a, b in ((1, 2), (2, 3), (3, 1)):
        lab.assert_ping(a, b)


def test_reserved_addresses_never_cross(make_lab):
    """01:80:c2:00:00:00 to 0f stay on their LAN (spanning tree, pause, LACP, LLDP); the next address crosses."""
    lab = make_lab()
    lab.mesh()
    reserved = [frame(f"01:80:c2:00:00:{last:02x}", lab.host_mac(1), 0x88CC, bytes([last]) * 50) for last in range(16)]
    reserved += [frame(f"01:80:c2:00:00:{last:02x}", lab.host_mac(1), tags=[(0x8100, 5)], size=100) for last in range(16)]
    crossing = [frame(address, lab.host_mac(1), 0x88CC, b"crosses") for address in ("01:80:c2:00:00:10", "01:80:c2:00:01:00", "01:80:c3:00:00:00")]
    ours = mac_bytes(lab.host_mac(1))
    with Sniffer(lab, lab.host(2), outgoing=False) as far:
        transmit(lab, lab.host(1), reserved + crossing)
        seen = far.frames(count=len(crossing), wanted=lambda data: data[6:12] == ours, quiet=0.5)
    assert seen == crossing


def test_filter(make_lab):
    """A BPF expression on the port: what it refuses does not cross, the rest does."""
    lab = make_lab()
    lab.mesh(settings={"port.lan0.filter": "not icmp"})
    lab.assert_no_ping(1, 2)
    with Receiver(lab, 2) as receiver:
        send_numbered(lab, 1, 200)
        assert receiver.numbers(200) == list(range(200))


@pytest.mark.parametrize("kind", ["packet", "tap"])
def test_lan_interface_goes_down_and_up(make_lab, kind):
    lab = make_lab()
    gateway = lab.mesh(kind)[0]
    lab.assert_ping(1, 2)
    lab.ip(lab.gw(1), "link", "set", "lan0", "down")
    time.sleep(1)
    lab.assert_no_ping(2, 1)
    lab.ip(lab.gw(1), "link", "set", "lan0", "up")
    lab.wait_ping(1, 2)
    lab.assert_ping(2, 1)
    assert gateway.alive()


def test_tap_keeps_name_and_mac(make_lab):
    """So that a bridge, a firewall rule or a DHCP lease that names them still fits after a restart."""
    lab = make_lab()
    gateway = lab.mesh("tap")[0]

    def address():
        return json.loads(lab.exec(lab.gw(1), "ip", "-j", "link", "show", "tap0").stdout)[0]["address"]

    before = address()
    assert gateway.stop() == 0
    gateway.start()
    gateway.wait_up()
    assert address() == before
    gateway.kill()
    gateway.start()
    gateway.wait_up()
    assert address() == before
    lab.wait_ping(1, 2)

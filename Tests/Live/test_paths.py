"""Paths that change: a NAT's mapping, the size of what arrives, silence, addresses that lead nowhere, and IPv6."""
import json
import re
import subprocess
import threading
import time

import pytest

from groups import FAST, Feed, Member, Watch, members
from lab import PORT, run, wait_for

GROUP = "239.192.20.1"
OUTSIDE = ("10.200.0.101", "10.200.0.102")


def peer(gateway, name):
    return next(one for one in gateway.show("peers")["peers"] if one["name"] == name)


def put_between(lab, site, short, inside_subnet, mtu=1500):
    """Takes a site's gateway off the WAN's switch and puts a router of its own in between: its namespace, with devices `in0` and `out0`."""
    router = lab._add_namespace(short)
    gw = lab.gw(site)
    lab.ip(gw, "link", "del", "wan0")
    lab.ip(gw, "link", "add", "wan0", "type", "veth", "peer", "name", "in0", "netns", router)
    lab.ip(router, "link", "add", "out0", "mtu", str(mtu), "type", "veth", "peer", "name", f"w{site}", "mtu", str(mtu), "netns", lab.wan)
    lab.ip(lab.wan, "link", "set", f"w{site}", "master", "wbr", "up")
    lab.ip(gw, "addr", "add", f"{inside_subnet}.1/24", "dev", "wan0")
    lab.ip(gw, "link", "set", "wan0", "up")
    lab.ip(router, "addr", "add", f"{inside_subnet}.254/24", "dev", "in0")
    for device in ("in0", "out0"):
        lab.ip(router, "link", "set", device, "up")
        # What arrives is what was sent: a router on a real wire sees no super-frames.
        lab.exec(router, "ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off")
    lab.exec(gw, "ethtool", "-K", "wan0", "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off")
    lab.exec(router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    lab.ip(gw, "route", "add", "default", "via", f"{inside_subnet}.254")
    return router


def nft(lab, namespace, *lines):
    for line in lines:
        lab.exec(namespace, "nft", line)


def longest_silence(arrivals):
    times = [when for when, _ in arrivals]
    return max(later - earlier for earlier, later in zip(times, times[1:]))


@pytest.fixture
def natted(make_lab):
    """Site 1's gateway is behind a NAT and dials; site 2 knows no address of it."""
    lab = make_lab()
    router = put_between(lab, 1, "nat", "192.168.71")
    lab.ip(router, "addr", "add", OUTSIDE[0] + "/24", "dev", "out0")
    nft(lab, router, "add table ip nat", "add chain ip nat post { type nat hook postrouting priority 100 ; }",
        "add rule ip nat post oifname out0 masquerade random")
    gateways = lab.mesh(start=False, settings=FAST, dial=lambda a, b: a == 1)
    lab.gateways[1].settings["listen"] = f"0.0.0.0:{PORT}"
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.wait_up()
    return lab, router


@pytest.mark.parametrize("source", [1, 2], ids=["from-behind", "towards"])
def test_a_mapping_that_changes(natted, source):
    """The NAT forgets its mappings and gets another address while a feed runs: at most a second of it is lost, either way."""
    lab, router = natted
    far = lab.gateways[3 - source]
    before = peer(lab.gateways[2], "s1")["endpoint"]
    assert before.startswith(OUTSIDE[0]), before
    with Feed(lab, source, GROUP, every=0.005), Watch(lab, 3 - source) as watch, Member(lab, 3 - source, GROUP):
        wait_for("the member is known", lambda: members(far, GROUP))
        watch.first(GROUP)
        watch.arrivals(GROUP, 0.5)
        # The address goes, and with it the kernel forgets what it had mapped to it.
        lab.ip(router, "addr", "del", OUTSIDE[0] + "/24", "dev", "out0")
        lab.ip(router, "addr", "add", OUTSIDE[1] + "/24", "dev", "out0")
        arrivals = watch.arrivals(GROUP, 4)
    numbers = [number for _, number in arrivals]
    assert numbers == sorted(set(numbers)), "doubled, or out of order"
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    assert missing * 0.005 <= 1, f"{missing} of the feed are missing"
    assert longest_silence(arrivals) <= 1.2
    wait_for("the peer is where it is now", lambda: peer(lab.gateways[2], "s1")["endpoint"].startswith(OUTSIDE[1]))
    lab.assert_ping(2, 1)


def test_both_behind_nats(make_lab):
    """Either side is behind a NAT; site 2's forwards its port. One mapping changes, and both find each other again."""
    lab = make_lab()
    for site, address in ((1, OUTSIDE[0]), (2, "10.200.0.110")):
        router = put_between(lab, site, f"nat{site}", f"192.168.7{site}")
        lab.ip(router, "addr", "add", address + "/24", "dev", "out0")
        nft(lab, router, "add table ip nat", "add chain ip nat post { type nat hook postrouting priority 100 ; }",
            "add rule ip nat post oifname out0 masquerade")
        if site == 1:
            nat = router
        else:
            nft(lab, router, "add chain ip nat pre { type nat hook prerouting priority -100 ; }",
                f"add rule ip nat pre iifname out0 udp dport {PORT} dnat to 192.168.72.1")
    near, far = lab.mesh(start=False, settings=FAST, dial=lambda a, b: False)
    near.settings["listen"] = far.settings["listen"] = f"0.0.0.0:{PORT}"
    near.settings["peer.s2.address"] = f"10.200.0.110:{PORT}"
    for gateway in (near, far):
        gateway.start()
    for gateway in (near, far):
        gateway.wait_up()
    lab.assert_ping(1, 2)
    lab.ip(nat, "addr", "del", OUTSIDE[0] + "/24", "dev", "out0")
    lab.ip(nat, "addr", "add", OUTSIDE[1] + "/24", "dev", "out0")
    lab.wait_ping(2, 1, seconds=3)
    assert peer(far, "s1")["endpoint"].startswith(OUTSIDE[1])


def mtu_of(gateway, name):
    return peer(gateway, name)["path"]["mtu"]


def test_a_path_that_narrows(make_lab):
    """1500, then 1280 with ICMP dropped while TCP runs, then 1500 again: what is sent follows, and TCP goes on."""
    lab = make_lab()
    router = put_between(lab, 1, "rt", "192.168.71")
    lab.ip(router, "addr", "add", OUTSIDE[0] + "/24", "dev", "out0")
    lab.ip(lab.gw(2), "route", "add", "192.168.71.0/24", "via", OUTSIDE[0])
    lab.exec(lab.gw(2), "ethtool", "-K", "wan0", "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off")
    for namespace in (router, lab.gw(1), lab.gw(2)):
        nft(lab, namespace, "add table ip f", "add chain ip f out { type filter hook output priority 0 ; }", "add rule ip f out ip protocol icmp drop")
    near, far = lab.mesh(start=False, settings={**FAST, "path.recheck": "4s"})
    near.settings["listen"] = f"192.168.71.1:{PORT}"
    far.settings["peer.s1.address"] = f"192.168.71.1:{PORT}"
    for gateway in (near, far):
        gateway.start()
    for gateway in (near, far):
        gateway.wait_up()
    wait_for("1500 octets both ways", lambda: mtu_of(near, "s2") == 1500 and mtu_of(far, "s1") == 1500)
    server = lab.popen(lab.host(2), "iperf3", "-s", "-1", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("iperf3", lambda: ":5201" in lab.exec(lab.host(2), "ss", "-ltn").stdout)
    client = lab.popen(lab.host(1), "iperf3", "-c", lab.host_ip(2), "-t", "14", "-i", "1", "-J", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    time.sleep(3)
    lab.ip(router, "link", "set", "out0", "mtu", "1280")
    lab.ip(lab.wan, "link", "set", "w1", "mtu", "1280")
    lab.ip(router, "link", "set", "in0", "mtu", "1280")
    narrowed = time.monotonic()
    wait_for("smaller packets", lambda: 1200 < mtu_of(near, "s2") <= 1280 and 1200 < mtu_of(far, "s1") <= 1280, seconds=5)
    noticed = time.monotonic() - narrowed
    time.sleep(2)
    lab.ip(router, "link", "set", "out0", "mtu", "1500")
    lab.ip(lab.wan, "link", "set", "w1", "mtu", "1500")
    lab.ip(router, "link", "set", "in0", "mtu", "1500")
    wait_for("1500 octets again", lambda: mtu_of(near, "s2") == 1500 and mtu_of(far, "s1") == 1500, seconds=10)
    report = json.loads(client.communicate(timeout=30)[0])
    server.wait(10)
    rates = [one["sum"]["bits_per_second"] for one in report["intervals"]]
    assert min(rates[:2]) > 20e6 and max(rates[-3:]) > 20e6, rates
    silent = sum(1 for rate in rates if rate < 1e6)
    assert silent <= 4, f"{silent} s without traffic: {rates}"
    assert peer(near, "s2")["path"]["black_holes"] >= 1
    assert noticed < 5


def test_suspect_then_down_then_back(make_lab):
    """The peer's wire is cut: suspect within a second and a bit, down within three and a bit, and up again when it is mended."""
    lab = make_lab()
    near, _ = lab.mesh()
    time.sleep(1)
    lab.ip(lab.wan, "link", "set", "w2", "down")
    cut = time.monotonic()
    wait_for("suspect", lambda: near.peers()["s2"] == "suspect", seconds=3, every=0.02)
    assert 0.5 < time.monotonic() - cut < 2
    wait_for("down", lambda: near.peers()["s2"] == "connecting", seconds=5, every=0.02)
    assert 2.5 < time.monotonic() - cut < 4.5
    lab.ip(lab.wan, "link", "set", "w2", "up")
    wait_for("up", lambda: near.peers()["s2"] == "up", seconds=6)
    log = near.log()
    assert re.search(r"peer s2 is suspect: nothing authentic from it for 1", log) and "peer s2 is down" in log, log


def test_fast_liveness(make_lab):
    lab = make_lab()
    near, _ = lab.mesh(settings={"liveness.suspect": "100ms", "liveness.down": "300ms"})
    time.sleep(3)
    assert "suspect" not in near.log(), near.log()
    lab.ip(lab.wan, "link", "set", "w2", "down")
    cut = time.monotonic()
    wait_for("down", lambda: near.peers()["s2"] == "connecting", seconds=3, every=0.01)
    assert time.monotonic() - cut < 1


def test_no_false_alarm_under_load(make_lab):
    """Bulk both ways at full speed for some seconds, with the default times: nobody is suspect."""
    lab = make_lab()
    gateways = lab.mesh()
    server = lab.popen(lab.host(2), "iperf3", "-s", "-1", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("iperf3", lambda: ":5201" in lab.exec(lab.host(2), "ss", "-ltn").stdout)
    lab.exec(lab.host(1), "iperf3", "-c", lab.host_ip(2), "-u", "-b", "2G", "-l", "1400", "--bidir", "-t", "6", check=False, timeout=40)
    server.wait(10)
    for gateway in gateways:
        assert "suspect" not in gateway.log() and "down" not in gateway.log(), gateway.log()
        path = next(iter(gateway.show("peers")["peers"]))["path"]
        assert path["probes_answered"] > 4 and path["round_trip_median_microseconds"] > 0


def test_the_first_address_is_dead(make_lab):
    lab = make_lab()
    near, far = lab.mesh(start=False, dial=lambda a, b: a == 1)
    near.settings["peer.s2.address"] = f"10.200.0.77:{PORT}, [fd00:200::77]:{PORT}, {lab.endpoint(2)}"
    for gateway in (near, far):
        gateway.start()
    near.wait_up(8)
    assert peer(near, "s2")["endpoint"] == lab.endpoint(2)
    lab.assert_ping(1, 2)


def test_ipv6_underlay_finds_its_size(make_lab):
    lab = make_lab(family=6)
    near, far = lab.mesh()
    wait_for("1500 octets both ways", lambda: mtu_of(near, "s2") == 1500 and mtu_of(far, "s1") == 1500)
    lab.assert_ping(1, 2, "-s", "1400")
    assert peer(near, "s2")["cipher"] and peer(near, "s2")["endpoint"].startswith("[")

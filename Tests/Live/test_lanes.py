"""Gateways of several lanes between real kernels: traffic of every kind, order, bursts, and each offload switched off."""
import contextlib
import os
import re
import signal
import socket
import struct
import threading
import time

import pytest

from groups import FEEDGEN, feed_number
from lab import BINARY, inside, run, wait_for
from test_traffic import iperf
from wire import Receiver, Sniffer, feed, kernel_counters, mac_bytes, network_frame_size, send_numbered, transmit

LANES = {"lanes": "2"}
GROUPS = [f"239.192.1.{number}" for number in range(1, 21)]
PORT = 26400


def start(lab, settings=LANES, per_site=None):
    """A mesh of two sites with these settings, and some of one site's own."""
    gateways = lab.mesh(start=False, settings=settings)
    for site, own in (per_site or {}).items():
        lab.gateways[site].settings.update(own)
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.wait_up()
    return gateways


@pytest.fixture(scope="module", params=[("2", "2"), ("2", "1"), ("1", "2"), ("3", "2")], ids=lambda lanes: "-".join(lanes))
def pair(request, make_module_lab):
    lab = make_module_lab()
    start(lab, per_site={site: {"lanes": lanes} for site, lanes in zip((1, 2), request.param)})
    return lab


def lossless(gateways):
    """Fails for every reason that would be a lane's fault."""
    for gateway in gateways:
        drops = {reason: count for reason, count in gateway.drops().items() if count and reason in (
            "crossing-full", "replayed", "authentication-failed", "unknown-stream", "lost-on-wan", "transmit-full", "deliver-full",
            "capture-overrun", "receive-overrun", "send-failed", "port-send-failed", "fragment-lost", "malformed-packing", "bad-offload")}
        assert not drops, (gateway.name, drops)


class Members:
    """Sockets of a host that are each in one group, each known to the other gateways."""

    def __init__(self, lab, site, groups):
        self._stack = contextlib.ExitStack()
        self.sockets = {group: self._stack.enter_context(Receiver(lab, site, group)) for group in groups}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()


def send_feeds(lab, site, groups, count, every=0.0005, size=200):
    """`count` numbered datagrams to each group, round robin, at a steady pace."""
    with lab.socket(lab.host(site), socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(lab.host_ip(site)))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        due = time.monotonic()
        for number in range(count):
            for group in groups:
                sock.sendto(struct.pack("!Q", number).ljust(size, b"."), (group, PORT))
            due += every * len(groups)
            time.sleep(max(0, due - time.monotonic()))


def test_ping_and_table(pair):
    pair.assert_ping(1, 2, count=50, interval=0.01)
    pair.assert_ping(2, 1, "-M", "do", "-s", "1472")
    for site in (1, 2):
        rows = [row["mac"] for row in pair.gateways[site].show("macs")["macs"]]
        assert len(rows) == len(set(rows)) and {pair.host_mac(1), pair.host_mac(2)} <= set(rows), rows


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_tcp(pair, direction):
    """Eight streams both ways: super-frames in, coalesced runs out, and no segment with a wrong checksum."""
    before = {site: kernel_counters(pair, pair.host(site)) for site in (1, 2)}
    end = iperf(pair, "-t", "2", "-P", "8", *(["-R"] if direction == "reverse" else []))
    assert end["sum_received"]["bits_per_second"] > 50e6, end["sum_received"]
    for site in (1, 2):
        assert kernel_counters(pair, pair.host(site))["InCsumErrors"] == before[site]["InCsumErrors"]
    lossless(pair.gateways.values())


def test_feeds(pair):
    """Twenty groups: every datagram once, in order."""
    with Members(pair, 2, GROUPS) as members:
        send_feeds(pair, 1, GROUPS, 400)
        for group, receiver in members.sockets.items():
            assert receiver.numbers(400) == list(range(400)), group
    lossless(pair.gateways.values())


def test_flows_keep_their_order(pair):
    """A hundred UDP and TCP flows interleaved, numbered, and tagged frames: of each flow every frame once, in order."""
    ours, theirs = pair.host_mac(1), pair.host_mac(2)
    frames = []
    for number in range(60):
        for flow in range(50):
            body = struct.pack("!HHII", flow, 0, number, 0).ljust(40 + flow * 7, b"\x55")
            addresses = (f"192.0.2.{flow + 1}", "198.51.100.1")
            udp = FEEDGEN["ipv4"](*addresses, 17, FEEDGEN["udp"](*addresses, 1000, 2000, body), ttl=8)
            tcp = struct.pack("!HHIIBBHHH", 1000 + flow, 80, number, 0, 0x50, 0x10, 1000, 0, 0) + body
            tcp = FEEDGEN["ipv4"]("192.0.2.99", "198.51.100.2", 6, tcp, ttl=8)
            vlan = 10 if flow % 5 == 0 else None
            frames += [FEEDGEN["ethernet"](theirs, ours, 0x0800, packet, vlan) for packet in (udp, tcp)]
    with Sniffer(pair, pair.host(2), outgoing=False) as far:
        transmit(pair, pair.host(1), frames, burst=100, pause=0.004)
        seen = far.frames(count=len(frames), wanted=lambda data: data[6:12] == mac_bytes(ours) and b"\x55" * 20 in data)

    def flow(data):
        at = 18 if data[12:14] == b"\x81\x00" else 14
        return data[:at] + data[at + 9:at + 10] + data[at + 12:at + 24]

    assert len(seen) == len(frames) and sorted(seen) == sorted(frames)
    for name in {flow(data) for data in frames}:
        assert [data for data in seen if flow(data) == name] == [data for data in frames if flow(data) == name]


def test_market_data(pair):
    source, frames = feed(1000)
    ours = mac_bytes(pair.host_mac(1))
    frames = [data[:6] + ours + data[12:] for data in frames]
    with Members(pair, 2, [f"239.192.0.{number}" for number in range(1, 5)]):
        # One sender's feeds to several groups may be in several lanes: each keeps its order, they may overtake each other.
        with Sniffer(pair, pair.host(2), outgoing=False) as far:
            transmit(pair, pair.host(1), frames, burst=60, pause=0.005)
            seen = far.frames(count=len(frames), wanted=lambda data: data[6:12] == ours)
    assert sorted(seen) == sorted(frames)
    for group in {data[:6] for data in frames}:
        assert [data for data in seen if data[:6] == group] == [data for data in frames if data[:6] == group]


def test_groups_count_all_lanes(pair):
    group = "239.192.9.1"
    with Members(pair, 2, [group]) as members:
        send_feeds(pair, 1, [group], 200)
        assert len(members.sockets[group].numbers(200)) == 200
        wait_for("200 frames counted at site 1", lambda: pair.gateways[1].group(group)["frames_from_lan"] == 200)
        wait_for("200 frames counted at site 2", lambda: pair.gateways[2].group(group)["frames_from_mesh"] == 200)


# What the machine sees

def threads(gateway):
    """{name: processors it may run on}"""
    found = {}
    for task in os.listdir(f"/proc/{gateway.process.pid}/task"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{gateway.process.pid}/task/{task}/status") as file:
            text = file.read()
            found[re.search(r"Name:\t(.*)", text)[1]] = re.search(r"Cpus_allowed_list:\t(.*)", text)[1]
    return found


def test_names_and_processors(make_lab):
    lab = make_lab()
    last = os.cpu_count() - 1
    gateways = start(lab, per_site={1: {"lane.cpus": f"{last}, 0" if last else "0", "lanes": "2" if last else "1"}})
    names = threads(gateways[0])
    assert names["lane 0"] == str(last) and (not last or names["lane 1"] == "0"), names
    assert "control" in names
    other = threads(gateways[1])
    assert {"lane 0", "lane 1", "control"} <= set(other) and "lane 2" not in other, other
    listed = run("ps", "-L", "-o", "comm", "-p", str(gateways[1].process.pid)).stdout.splitlines()
    assert {"lane 0", "lane 1", "control"} <= {line.strip() for line in listed}, listed
    lab.assert_ping(1, 2)


def test_a_lane_with_little_to_do_settles_and_leaves_again(make_lab):
    """Whether it finds a place that is better is the machine's affair; that nothing is lost while it looks, and that it may run anywhere afterwards, is not."""
    lab = make_lab()
    gateways = start(lab, {"lanes": "1"})
    everywhere = [threads(gateway)["lane 0"] for gateway in gateways]
    places = set()
    # A machine that is busy with something else may leave no time for a search: then once more.
    for _ in range(5):
        with Receiver(lab, 2) as receiver:
            feed = threading.Thread(target=send_numbered, args=(lab, 1, 12_000), kwargs={"burst": 20, "pause": 0.004})
            feed.start()
            until = time.monotonic() + 30
            while feed.is_alive() and time.monotonic() < until:
                places.update(threads(gateway)["lane 0"] for gateway in gateways)
                time.sleep(0.02)
            feed.join(10)
            assert receiver.numbers(12_000) == list(range(12_000))
        if len(places) > 1:
            break
    lossless(gateways)
    assert places <= {*everywhere, *(str(number) for number in range(os.cpu_count()))}, places
    if os.cpu_count() > 1:
        assert len(places) > 1, "no place was tried"
    wait_for("the lanes may run anywhere", lambda: [threads(gateway)["lane 0"] for gateway in gateways] == everywhere)


def test_frames_gather_where_that_is_wanted(make_lab):
    lab = make_lab()
    gateways = start(lab, {"lanes": "1"}, per_site={1: {"lane.gather": "1ms"}})

    def counts():
        peer = gateways[0].show("peers")["peers"][0]
        return peer["frames_out"], peer["datagrams_out"]
    before = counts()
    with Receiver(lab, 2) as receiver:
        # Some 5,000 a second, each by itself: one to a datagram without the setting.
        send_numbered(lab, 1, 3_000, burst=1, pause=0.0001)
        assert receiver.numbers(3_000) == list(range(3_000))
    lossless(gateways)
    wait_for("the frames are counted", lambda: counts()[0] - before[0] >= 3_000)
    after = counts()
    assert (after[0] - before[0]) / (after[1] - before[1]) > 1.5, (before, after)
    lab.assert_ping(1, 2)
    # What comes from the WAN meanwhile is all taken each time, not one datagram: more than the 1,000 pauses of a second.
    stop = threading.Event()

    def keep_gathering():
        with lab.socket(lab.host(1), socket.AF_INET, socket.SOCK_DGRAM) as sock:
            until = time.monotonic() + 30
            while not stop.is_set() and time.monotonic() < until:
                sock.sendto(b"x", (lab.host_ip(2), 9))
                time.sleep(0.0002)

    gatherer = threading.Thread(target=keep_gathering)
    gatherer.start()
    try:
        with Receiver(lab, 1) as receiver:
            started = time.monotonic()
            send_numbered(lab, 2, 6_000, burst=1, pause=0.0001)
            took = time.monotonic() - started
            assert receiver.numbers(6_000, seconds=1.0) == list(range(6_000)), took
    finally:
        stop.set()
        gatherer.join(10)
    lossless(gateways)


def test_polling_lanes_carry_traffic(make_lab):
    lab = make_lab()
    gateways = start(lab, {"lanes": "2", "lane.wait": "poll"})
    lab.assert_ping(1, 2, count=20, interval=0.02)
    assert iperf(lab, "-t", "2")["sum_received"]["bits_per_second"] > 20e6
    with Receiver(lab, 2) as receiver:
        send_numbered(lab, 1, 1000)
        assert receiver.numbers(1000) == list(range(1000))
    assert [lane["wait"] for lane in gateways[0].show("status")["lanes"]] == ["poll", "poll"]
    assert gateways[0].stop() == 0


def test_a_lan_device_goes_down_and_up(make_lab):
    lab = make_lab()
    gateways = start(lab)
    lab.assert_ping(1, 2)
    for _ in range(2):
        lab.ip(lab.gw(1), "link", "set", "lan0", "down")
        wait_for("the port is shown as down", lambda: gateways[0].port()["state"] == "down")
        lab.assert_no_ping(2, 1)
        lab.ip(lab.gw(1), "link", "set", "lan0", "up")
        lab.wait_ping(1, 2)
        wait_for("the port is shown as up", lambda: gateways[0].port()["state"] == "up")
        lab.assert_ping(2, 1)
        # Both lanes are back: many flows, nothing lost.
        before = kernel_counters(lab, lab.host(2))
        assert iperf(lab, "-t", "1", "-P", "8")["sum_received"]["bits_per_second"] > 20e6
        assert kernel_counters(lab, lab.host(2))["InCsumErrors"] == before["InCsumErrors"]
    with Members(lab, 2, GROUPS[:5]) as members:
        send_feeds(lab, 1, GROUPS[:5], 200)
        for group, receiver in members.sockets.items():
            assert receiver.numbers(200) == list(range(200)), group


# Bursts (goal 7)

@pytest.mark.parametrize("lanes", ["auto", "2"])
def test_burst_of_500_in_a_millisecond(make_lab, lanes):
    """500 frames of 1400 octets as fast as a host can send them: nothing is lost, at the settings that a gateway has by itself."""
    lab = make_lab()
    gateways = start(lab, {"lanes": lanes})
    lab.assert_ping(1, 2)
    with Receiver(lab, 2) as receiver:
        for turn in range(5):
            time.sleep(0.3)
            burst(lab, ["239.192.0.1"], range(500 * turn, 500 * turn + 500), 1400 - 42)
        assert receiver.numbers(2500) == list(range(2500))
    lossless(gateways)


@pytest.mark.parametrize("lanes", ["auto", "2"])
def test_burst_on_20_groups_at_once(make_lab, lanes):
    """100 frames on each of 20 groups at once."""
    lab = make_lab()
    gateways = start(lab, {"lanes": lanes})
    with Members(lab, 2, GROUPS) as members:
        for turn in range(3):
            time.sleep(0.3)
            burst(lab, GROUPS, range(100 * turn, 100 * turn + 100), 200)
        for group, receiver in members.sockets.items():
            assert receiver.numbers(300) == list(range(300)), group
    lossless(gateways)


def burst(lab, groups, numbers, size):
    """Frames of a feed, put on the LAN back to back by several threads, one for a share of the groups."""
    source = (lab.host_mac(1), lab.host_ip(1))
    ready = threading.Barrier(min(len(groups), 4))

    def share(mine):
        frames = [FEEDGEN["ethernet"](FEEDGEN["group_mac"](group), source[0], 0x0800,
                                      FEEDGEN["ipv4"](source[1], group, 17, FEEDGEN["udp"](source[1], group, PORT, PORT, struct.pack(
                                          "!Q", number).ljust(size, b".")), ttl=8)) for number in numbers for group in mine]
        with inside(lab.host(1)), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind(("eth0", 0))
            ready.wait(5)
            for data in frames:
                sock.send(data)

    workers = [threading.Thread(target=share, args=(groups[part::ready.parties],)) for part in range(ready.parties)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)


# Offloads

OFFLOADS = [{"offload.send": "off"}, {"offload.receive": "off"}, {"offload.deliver": "off"}, {"offload.deliver": "all"},
            {"offload.bypass-queue": "on"}, {"offload.connect": "on"}, {"offload.send": "off", "offload.receive": "off", "offload.deliver": "off"}]


@pytest.mark.parametrize("settings", OFFLOADS, ids=lambda settings: "+".join(key.split(".")[1] for key in settings))
@pytest.mark.parametrize("lanes", ["1", "2"])
def test_without_an_offload(make_lab, settings, lanes):
    lab = make_lab()
    gateways = start(lab, {"lanes": lanes, **settings})
    before = kernel_counters(lab, lab.host(2))
    assert iperf(lab, "-t", "1", "-P", "4")["sum_received"]["bits_per_second"] > 20e6
    assert iperf(lab, "-t", "1", "-P", "4", "-R")["sum_received"]["bits_per_second"] > 20e6
    assert kernel_counters(lab, lab.host(2))["InCsumErrors"] == before["InCsumErrors"]
    with Receiver(lab, 2) as receiver:
        send_numbered(lab, 1, 2000)
        assert receiver.numbers(2000) == list(range(2000))
    lossless(gateways)
    # And what is in force is shown.
    for gateway in gateways:
        for lane in gateway.show("status")["lanes"]:
            assert lane["udp_segmentation"] == (settings.get("offload.send") != "off"), lane
            assert lane["udp_coalescing"] == (settings.get("offload.receive") != "off"), lane
        offloads = gateway.port()["offloads"]
        assert offloads["receive_metadata"] is True
        assert offloads["bypass_queue"] is (settings.get("offload.bypass-queue") == "on")
        if settings.get("offload.deliver") == "off":
            assert not offloads["super_frames_tcp"]
        assert offloads["super_frames_udp"] is (settings.get("offload.deliver") == "all")


@pytest.mark.parametrize("delivery", ["tcp", "off"])
def test_datagrams_that_come_together_leave_one_by_one(make_lab, delivery):
    """Whoever captures behind a virtual device sees every frame of a feed, though the gateway had to handle many at once."""
    lab = make_lab()
    _, far = start(lab, {"offload.deliver": delivery})
    with Receiver(lab, 2), Sniffer(lab, lab.host(2), outgoing=False) as wire:
        for _ in range(5):
            os.kill(far.process.pid, signal.SIGSTOP)
            try:
                send_numbered(lab, 1, 100)
            finally:
                os.kill(far.process.pid, signal.SIGCONT)
            seen = wire.frames(count=100, wanted=lambda data: data[:3] == b"\x01\0\x5e" and data[23] == 17, quiet=0.1)
            assert [feed_number(data) for data in seen] == list(range(100))


def test_offloads_are_shown(make_lab):
    lab = make_lab()
    gateway = start(lab)[0]
    text = run_show(gateway, "ports")
    assert re.search(r"lan0 +packet +lan0 +up .* metadata, tcp", text), text
    status = run_show(gateway, "status")
    assert re.search(r"lane 0 +sleeps when idle; the kernel cuts datagrams: yes, joins them: yes", status), status
    assert "lane 1 " in status and "lane 2 " not in status


def run_show(gateway, noun):
    return run(BINARY, "show", noun, "--socket", gateway.control).stdout


@pytest.mark.parametrize("lan_mtu", [1500, 9000])
@pytest.mark.parametrize("lanes", ["1", "2"])
def test_what_leaves_is_what_a_wire_can_carry(make_lab, lanes, lan_mtu):
    """The far host's device joins nothing and takes no super-frame: every frame fits its MTU and every checksum is right."""
    lab = make_lab(lan_mtu=lan_mtu)
    gateways = start(lab, {"lanes": lanes})
    # Without these the kernel cuts, and finishes checksums, before a frame leaves lan0, as for a card that can do neither.
    for namespace, device in ((lab.gw(2), "lan0"), (lab.host(2), "eth0")):
        lab.exec(namespace, "ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off", "tx", "off")
    with Sniffer(lab, lab.host(2), outgoing=False) as far:
        assert iperf(lab, "-t", "1", "-P", "2")["sum_received"]["bits_per_second"] > 10e6
        seen = far.frames(seconds=3, count=1, wanted=lambda data: data[12:14] == b"\x08\x00" and data[23] == 6, quiet=0.2)
    assert len(seen) > 500
    sizes = [network_frame_size(data) for data in seen]
    assert max(sizes) <= lan_mtu, max(sizes)
    assert max(sizes) > 1400
    wrong = [data for data in seen if not has_good_tcp_checksum(data)]
    assert not wrong, f"{len(wrong)} of {len(seen)}"
    lossless(gateways)


def has_good_tcp_checksum(data):
    header = 4 * (data[14] & 15)
    segment = data[14 + header:14 + struct.unpack_from("!H", data, 16)[0]]
    pseudo = data[26:34] + struct.pack("!HH", 6, len(segment))
    return FEEDGEN["checksum"](pseudo + segment) == 0 and FEEDGEN["checksum"](data[14:14 + header]) == 0


def test_backends_differ(make_lab):
    """One side seals by libcrypto, the other by libsodium."""
    lab = make_lab()
    gateways = start(lab, per_site={1: {"cipher.backend": "openssl"}, 2: {"cipher.backend": "sodium"}})
    lab.assert_ping(1, 2, "-s", "1472")
    for options in ((), ("-R",)):
        assert iperf(lab, "-t", "1", "-P", "4", *options)["sum_received"]["bits_per_second"] > 20e6
    with Receiver(lab, 2) as receiver:
        send_numbered(lab, 1, 1000)
        assert receiver.numbers(1000) == list(range(1000))
    lossless(gateways)


def test_renewal_in_every_lane(make_lab):
    """Keys are agreed anew every second while feeds flow: nothing is lost."""
    lab = make_lab()
    gateways = start(lab, {"lanes": "2", "rekey.time": "1s"})
    with Members(lab, 2, GROUPS[:6]) as members:
        send_feeds(lab, 1, GROUPS[:6], 1000, every=0.001)
        for group, receiver in members.sockets.items():
            assert receiver.numbers(1000) == list(range(1000)), group
    assert gateways[0].show("peers")["peers"][0]["handshakes"] >= 4
    lossless(gateways)

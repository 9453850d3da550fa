"""A third party on the WAN with all it can have: a million datagrams from thousands of addresses, none of which changes anything."""
import base64
import hashlib
import os
import random
import socket
import struct
import threading
import time

import pytest

from groups import FAST, Feed, Member, Watch, members
from lab import PORT, wait_for
from wire import Sniffer, mac_bytes, udp_payload

FEED = "239.192.9.1"
MILLION = 1_000_000
LISTED = ["malformed-datagram", "unknown-stream", "authentication-failed", "replayed", "handshake-refused", "punt-queue-full", "receive-overrun"]


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Attacker:
    """Sits between the WAN's switch and site 2's gateway: puts any datagram on that wire, from any address, and sees every answer."""

    MAC = "02:ba:d0:00:00:01"

    def __init__(self, lab):
        self.lab = lab
        gw = lab.gw(2)
        self._destination = mac_bytes(lab.ip(gw, "-br", "link", "show", "dev", "wan0").split()[2])
        self._source = mac_bytes(Attacker.MAC)
        # Whoever is answered is found: every foreign address is said to be the attacker's.
        lab.ip(gw, "route", "add", "default", "via", "10.200.0.253")
        lab.ip(gw, "neigh", "add", "10.200.0.253", "lladdr", Attacker.MAC, "dev", "wan0")
        self._socket = lab.socket(lab.wan, socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind(("w2", 0))

    def frame(self, payload, address, port):
        udp = struct.pack("!HHHH", port, PORT, 8 + len(payload), 0) + payload
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, address, socket.inet_aton(self.lab.wan_ip(2)))
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        return self._destination + self._source + b"\x08\x00" + head + udp

    def send(self, frames, count, rate):
        """`count` frames, those given again and again, at most so many a second."""
        start = time.monotonic()
        for number in range(count):
            if number % 100 == 0:
                time.sleep(max(0, start + number / rate - time.monotonic()))
            self._socket.send(frames[number % len(frames)])
        return time.monotonic() - start

    def close(self):
        self._socket.close()


def handshake_mac(datagram, public_key):
    key = hashlib.blake2b(b"Causeway handshake mac 1" + base64.b64decode(public_key), digest_size=32).digest()
    return hashlib.blake2b(datagram, key=key, digest_size=16).digest()


def foreign(rng):
    """An address in 172.16.0.0/12: many prefixes."""
    return bytes([172, rng.randrange(16, 32), rng.randrange(256), rng.randrange(1, 255)]), rng.randrange(1024, 65536)


def resident_bytes(gateway):
    with open(f"/proc/{gateway.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(gateway):
    return len(os.listdir(f"/proc/{gateway.process.pid}/fd"))


def recorded_datagrams(lab, gateways):
    """What the two gateways said to each other from the first handshake on: towards site 2."""
    with Sniffer(lab, lab.wan, "w2", outgoing=True) as wire:
        for gateway in gateways:
            gateway.start()
        for gateway in gateways:
            gateway.wait_up()
        lab.assert_ping(1, 2, count=20, interval=0.02)
        frames = wire.frames(0.5)
    to_site_2 = [udp_payload(data) for data in frames if data[30:34] == socket.inet_aton(lab.wan_ip(2))]
    kinds = {payload[0] for payload in to_site_2 if payload}
    assert kinds >= {4} and kinds & {1, 2}, kinds
    return [payload for payload in to_site_2 if payload]


@pytest.fixture(scope="module")
def scene(make_module_lab):
    """Two gateways, a feed's receiver at site 2, an attacker beside it, and all that was said towards site 2 since the start."""
    lab = make_module_lab(offloads=False)
    gateways = lab.mesh(start=False, settings=FAST)
    recorded = recorded_datagrams(lab, gateways)
    attacker = Attacker(lab)
    yield lab, gateways, attacker, recorded
    attacker.close()


def variants(recorded, rng):
    """Each datagram as it was, with a bit flipped, cut short, and longer."""
    for payload in recorded:
        yield payload
        at = rng.randrange(len(payload))
        yield payload[:at] + bytes([payload[at] ^ 1 << rng.randrange(8)]) + payload[at + 1:]
        yield payload[:rng.randrange(len(payload))]
        if len(payload) < 1400:
            yield payload + rng.randbytes(rng.randrange(1, 64))


def crafted(gateway, rng, count=2_000):
    """Datagrams of every kind with garbage inside: handshakes whose keyed mac is right, so that they get as far as can be, and sealed
    ones for streams that do not exist."""
    for _ in range(count):
        kind = rng.choice([1, 1, 2, 3, 4, 4, 5, rng.randrange(256)])
        size = rng.choice([0, 1, 15, 16, 32, 100, 158, 180, 200, 1200, 1400])
        datagram = bytes([kind, 1, 0, 0]) + rng.randbytes(size)
        if kind in (1, 2, 3) and rng.random() < 0.7:
            datagram += handshake_mac(datagram, gateway.key)
        yield datagram


def sane(gateway):
    assert gateway.alive()
    assert set(gateway.peers().values()) == {"up"}
    assert len(gateway.log().splitlines()) < 300, "the attack fills the log"


def fed(lab, far, during):
    """The share of a feed's frames that reach site 2 while `during` runs, in its order; what they took is of no interest."""
    with Feed(lab, 1, FEED, every=0.002) as feed, Watch(lab, 2) as watch, Member(lab, 2, FEED):
        wait_for("the member is known", lambda: members(far, FEED))
        watch.first(FEED)
        first = feed.sent
        during()
        last = feed.sent
        numbers = [number for _, number in watch.arrivals(FEED, 5, quiet=0.5, count=1)]
        numbers += [number for _, number in watch.arrivals(FEED, 0.3)]
    assert numbers == sorted(set(numbers)), "doubled, or out of order"
    arrived = [number for number in numbers if first <= number < last]
    return len(arrived) / (last - first)


def test_a_million_datagrams_from_everywhere(scene):
    """Replayed, changed, cut, extended and invented: no answer, no state, and a feed goes on as if nothing were."""
    lab, (_, far), attacker, recorded = scene
    rng = random.Random(7)
    frames = [attacker.frame(payload, *foreign(rng)) for payload in variants(recorded, rng)]
    # Some claim to come from the peer itself.
    home = socket.inet_aton(lab.wan_ip(1))
    frames += [attacker.frame(payload, home, PORT) for payload in variants(recorded, rng)]
    frames += [attacker.frame(rng.randbytes(rng.randrange(0, 1400)), *foreign(rng)) for _ in range(3_000)]
    frames = [data.ljust(60, b"\0") for data in frames]
    rng.shuffle(frames)
    undisturbed = fed(lab, far, lambda: time.sleep(3))
    assert undisturbed > 0.99, undisturbed
    memory, files, before = resident_bytes(far), descriptors(far), far.drops()
    with Sniffer(lab, lab.wan, "w2", outgoing=False) as answers:
        disturbed = fed(lab, far, lambda: attacker.send(frames, MILLION, rate=60_000))
        said = answers.frames(0.5, wanted=lambda data: data[:6] == mac_bytes(Attacker.MAC))
    assert disturbed > 0.9 * undisturbed, f"{disturbed:.3f} of the feed arrived, {undisturbed:.3f} without the attack"
    assert not said, f"{len(said)} answers, the first is {said[0].hex()}"
    after = far.drops()
    counted = sum(after.get(reason, 0) - before.get(reason, 0) for reason in LISTED)
    assert counted > 0.9 * MILLION, f"{counted} of a million counted"
    assert resident_bytes(far) - memory < 32 << 20 and descriptors(far) == files
    sane(far)
    lab.assert_ping(1, 2)


def test_handshakes_from_everywhere(scene):
    """Whoever knows the gateway's public key can make it work for a handshake, but not so much that a feed suffers or a peer that
    begins anew is kept out; and an answer to such a one, a cookie, is never larger than what was asked."""
    lab, (near, far), attacker, _ = scene
    rng = random.Random(8)
    frames = [attacker.frame(payload, *foreign(rng)).ljust(60, b"\0") for payload in crafted(far, rng)]
    memory, files = resident_bytes(far), descriptors(far)
    with Sniffer(lab, lab.wan, "w2", outgoing=False) as answers:
        disturbed = fed(lab, far, lambda: attacker.send(frames, 200_000, rate=30_000))
        said = answers.frames(0.5, wanted=lambda data: data[:6] == mac_bytes(Attacker.MAC))
    assert disturbed > 0.9, f"{disturbed:.3f} of the feed arrived"
    asked = max(len(data) for data in frames)
    assert all(len(data) <= asked and data[42] == 3 for data in said), "something but cookies was answered"
    assert resident_bytes(far) - memory < 32 << 20 and descriptors(far) == files
    sane(far)

    # And while it goes on, a peer begins anew.
    attack = threading.Thread(target=attacker.send, args=(frames, 240_000, 30_000))
    attack.start()
    try:
        near.kill()
        near.start()
        near.wait_up(6)
        lab.wait_ping(1, 2, seconds=1)
        assert attack.is_alive(), "the attack was over before"
    finally:
        attack.join(20)
    sane(far)

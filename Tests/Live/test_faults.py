"""What must not break a tunnel, and who must not get one."""
import base64
import os
import random
import re
import socket
import subprocess
import time

import pytest

from lab import PORT, wait_for
from wire import Sniffer, udp_payload

GARBAGE = 100_000
REFUSALS = ["malformed-datagram", "unknown-stream", "authentication-failed", "replayed", "handshake-refused", "punt-queue-full"]
SPOKEN = re.compile(r"refused a (handshake|response)")


@pytest.mark.parametrize("who_dials", ["both", "the-other", "the-killed"])
def test_killed_gateway_comes_back(make_lab, who_dials):
    """kill -9 of one gateway and a restart: pings get through again within 5 seconds, whoever knows the other's address."""
    lab = make_lab()
    dial = {"both": lambda a, b: True, "the-other": lambda a, b: a == 1, "the-killed": lambda a, b: a == 2}[who_dials]
    _, killed = lab.mesh(dial=dial)
    lab.assert_ping(1, 2)
    with open(killed.path("ping"), "w") as output:
        pings = lab.popen(lab.host(1), "ping", "-n", "-D", "-i", "0.1", "-w", "15", lab.host_ip(2), stdout=output)
    time.sleep(0.5)
    killed.kill()
    time.sleep(1.5)
    restarted = time.time()
    killed.start()

    def first_reply():
        with open(killed.path("ping")) as output:
            times = [float(t) for t in re.findall(r"^\[([\d.]+)\] \d+ bytes from", output.read(), re.MULTILINE)]
        return next((t for t in times if t > restarted), None)

    back = wait_for("a ping answered after the restart", first_reply, seconds=10)
    pings.kill()
    assert back - restarted < 5, f"{back - restarted:.1f} s without traffic after the restart"
    lab.assert_ping(2, 1)


def test_both_gateways_restart(make_lab):
    lab = make_lab()
    gateways = lab.mesh()
    for gateway in gateways:
        gateway.kill()
    for gateway in gateways:
        gateway.start()
    lab.wait_ping(1, 2, seconds=5)


def refused(lab, gateways):
    """The tunnel does not stand, a log says why in a line that names the other side, and does not go on about it."""
    def line():
        for gateway in gateways:
            other = gateways[gateways[0] is gateway]
            for text in gateway.log().splitlines():
                if SPOKEN.search(text) and (other.name in text or lab.wan_ip(other.site) in text):
                    return text
        return None

    for gateway in gateways:
        gateway.start()
    wait_for("a log line about the refused peer", line, seconds=10)
    time.sleep(2)
    lab.assert_no_ping(1, 2)
    for gateway in gateways:
        assert gateway.alive() and "up" not in gateway.peers().values(), gateway.peers()
        assert len(gateway.log().splitlines()) < 60, "one refused peer fills the log"
        assert gateway.stop() == 0


def accepted(lab, gateways):
    """The same two, put right: what was wrong before was only the key."""
    for gateway in gateways:
        gateway.start()
    for gateway in gateways:
        gateway.wait_up()
    lab.assert_ping(1, 2)


def test_peer_with_a_wrong_key(make_lab):
    lab = make_lab()
    gateways = lab.mesh(start=False)
    gateways[0].settings["peer.s2.key"] = gateways[0].genkey("somebody.key")
    refused(lab, gateways)
    gateways[0].settings["peer.s2.key"] = gateways[1].key
    accepted(lab, gateways)


def test_wrong_pre_shared_key(make_lab):
    lab = make_lab()
    gateways = lab.mesh(start=False, settings={"psk.file": "mesh.psk"})

    def write(gateway, secret):
        with open(os.open(gateway.path("mesh.psk"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(base64.b64encode(secret) + b"\n")

    for number, gateway in enumerate(gateways):
        write(gateway, bytes([number + 1]) * 32)
    refused(lab, gateways)
    for gateway in gateways:
        write(gateway, b"s" * 32)
    accepted(lab, gateways)


def garbage(rng, real):
    """Endless datagrams: noise of all sizes, headers that look right, and real ones cut, changed or lengthened."""
    sizes = [0, 1, 3, 4, 8, 15, 16, 17, 31, 32, 33, 47, 48, 64, 92, 128, 148, 256, 500, 1200, 1400, 1472]
    while True:
        noise = rng.randbytes(rng.choice(sizes))
        real_one = bytearray(rng.choice(real))
        yield noise
        yield bytes([rng.randrange(8), rng.randrange(4), 0, 1]) + noise
        yield bytes([rng.randrange(8), 0]) + bytes(6) + rng.choice([bytes(8), b"\xff" * 8, rng.randbytes(8)]) + noise
        yield bytes(real_one[:rng.randrange(len(real_one))])
        real_one[rng.randrange(len(real_one))] ^= 1 << rng.randrange(8)
        yield bytes(real_one)
        yield bytes(real_one[:16]) + noise


def wan_datagrams(lab, action):
    """The payloads that the two gateways sent each other while `action` ran."""
    with Sniffer(lab, lab.wan, "w1") as wan:
        action()
        frames = wan.frames(seconds=0.5)
    return [payload for payload in map(udp_payload, frames) if payload and len(payload) < 1500]


def resident_bytes(gateway):
    with open(f"/proc/{gateway.process.pid}/status") as file:
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


def test_garbage_does_not_disturb(make_lab):
    """10^5 datagrams of garbage at the UDP port: a ping flood loses nothing, nobody is answered, every one is counted."""
    lab = make_lab()
    gateway = lab.mesh()[0]
    real = wan_datagrams(lab, lambda: lab.assert_ping(1, 2, count=20))
    before, memory = gateway.drops(), resident_bytes(gateway)
    with open(gateway.path("ping"), "w") as output:
        pings = lab.popen(lab.host(2), "ping", "-n", "-q", "-i", "0.005", "-c", "1600", lab.host_ip(1), stdout=output, stderr=subprocess.STDOUT)
    datagrams = garbage(random.Random(1), real)
    with lab.socket(lab.wan, socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.bind(("10.200.0.254", 0))
        start = time.monotonic()
        for number in range(GARBAGE):
            if number % 20 == 0:                # 16,000 a second, in small bursts
                time.sleep(max(0, start + number / 16_000 - time.monotonic()))
            attacker.sendto(next(datagrams), (lab.wan_ip(1), PORT))
        pings.wait(30)
        attacker.setblocking(False)
        with pytest.raises(BlockingIOError):    # not one answer
            attacker.recv(65536)
    with open(gateway.path("ping")) as output:
        text = output.read()
    assert re.search(r"1600 received.*\b0% packet loss", text), text
    after = gateway.drops()
    counted = sum(after.get(reason, 0) - before.get(reason, 0) for reason in REFUSALS)
    assert counted > 0.9 * GARBAGE, f"{counted} of {GARBAGE} counted"
    grown = resident_bytes(gateway) - memory
    assert grown < 32 << 20, f"memory grew by {grown >> 20} MiB"
    assert len(gateway.log().splitlines()) < 500, "garbage fills the log"
    lab.assert_ping(1, 2)


def test_replayed_datagrams_do_nothing(make_lab):
    """Everything the gateways said to each other, handshake included, said again by a third party from another address."""
    lab = make_lab()
    gateways = lab.mesh(start=False)

    def live():
        for gateway in gateways:
            gateway.start()
        for gateway in gateways:
            gateway.wait_up()
        lab.assert_ping(1, 2, count=10)

    recorded = wan_datagrams(lab, live)
    assert len(recorded) > 10
    with lab.socket(lab.wan, socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        attacker.bind(("10.200.0.254", 0))
        for _ in range(3):
            for payload in recorded:
                for site in lab.sites:
                    attacker.sendto(payload, (lab.wan_ip(site), PORT))
                time.sleep(0.001)
        lab.assert_ping(1, 2)
        lab.assert_ping(2, 1)
        attacker.setblocking(False)
        with pytest.raises(BlockingIOError):
            attacker.recv(65536)
    for gateway in gateways:
        assert set(gateway.peers().values()) == {"up"}

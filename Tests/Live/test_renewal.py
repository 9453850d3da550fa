"""New keys by time and by count, again and again, while a million frames flow."""
import multiprocessing
import socket
import struct
import threading
import time

from lab import wait_for
from wire import Receiver

MILLION = 1_000_000
GROUP, PORT = "239.192.0.1", 26400


def send(lab, count, rate):
    with lab.socket(lab.host(1), socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(lab.host_ip(1)))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        start = time.monotonic()
        for number in range(count):
            if number % 50 == 0:
                time.sleep(max(0, start + number / rate - time.monotonic()))
            sock.sendto(struct.pack("!Q", number) + b"." * 56, (GROUP, PORT))


def receive(sock, count, result):
    """Takes numbers until they end; says how many came, how many of those not behind their predecessor, and the last."""
    sock.settimeout(3)
    seen = gaps = disorder = 0
    expected = 0
    try:
        while expected < count:
            number, = struct.unpack_from("!Q", sock.recv(2048))
            seen += 1
            if number != expected:
                gaps += max(0, number - expected)
                disorder += number < expected
            expected = max(expected, number + 1)
    except TimeoutError:
        pass
    result.put((seen, gaps, disorder))


def test_a_million_frames_through_renewals(make_lab):
    """None lost, none doubled, in order; dozens of sessions."""
    lab = make_lab()
    near, far = lab.mesh(settings={"rekey.time": "2s", "rekey.datagrams": "5000"})
    with Receiver(lab, 2) as receiver:
        before = near.show("peers")["peers"][0]["handshakes"]
        result = multiprocessing.get_context("fork").Queue()
        reader = multiprocessing.get_context("fork").Process(target=receive, args=(receiver._socket, MILLION, result), daemon=True)
        reader.start()
        sender = threading.Thread(target=send, args=(lab, MILLION, 30_000))
        sender.start()
        sender.join(120)
        seen, gaps, disorder = result.get(timeout=30)
        reader.join(5)
    renewed = near.show("peers")["peers"][0]["handshakes"] - before
    assert (seen, gaps, disorder) == (MILLION, 0, 0), f"{seen} came, {gaps} did not, {disorder} out of order; {near.drops()} {far.drops()}"
    assert renewed > 10, f"keys were renewed {renewed} times"
    wait_for("still up", lambda: set(near.peers().values()) == {"up"})

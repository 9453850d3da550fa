"""How gateways agree on keys, and what their logs say when they cannot."""
import base64
import os
import shutil

import pytest

from lab import wait_for


def key_exchanges(gateway):
    return [peer.get("key_exchange") for peer in gateway.show("peers")["peers"]]


def refused(gateway, cause):
    return {row["cause"]: row["count"] for row in gateway.show("status")["handshakes"]["refused"]}[cause]


def said(gateway, words):
    wait_for(f"{gateway.name} says: {words}", lambda: gateway.alive() and words in gateway.log(), seconds=60)


def test_keys_are_hybrid_by_default_also_over_ipv6_at_its_smallest(make_lab):
    """No datagram of the handshake is longer than a path of 1280 octets takes."""
    lab = make_lab(family=6, mtu=1280)
    for gateway in lab.mesh(settings={"path.mtu": "1280"}):
        assert key_exchanges(gateway) == ["X25519 + ML-KEM-768"]
        assert ", keys from X25519 + ML-KEM-768" in gateway.log()
    lab.assert_ping(1, 2)


@pytest.mark.parametrize("choices, expected", [(("off", "on"), "X25519"), (("required", "on"), "X25519 + ML-KEM-768")])
def test_either_side_decides(make_lab, choices, expected):
    lab = make_lab()
    gateways = lab.mesh(start=False)
    for gateway, choice in zip(gateways, choices):
        gateway.settings["post-quantum"] = choice
        gateway.start()
    for gateway in gateways:
        gateway.wait_up()
        assert key_exchanges(gateway) == [expected]
    lab.assert_ping(1, 2)


def test_required_refuses_who_does_without(make_lab):
    lab = make_lab()
    strict, plain = lab.mesh(start=False, dial=lambda a, b: a == 2)
    strict.settings["post-quantum"] = "required"
    plain.settings["post-quantum"] = "off"
    strict.start()
    plain.start()
    said(strict, "it does without ML-KEM-768, and post-quantum = required here")
    assert refused(strict, "no-post-quantum") > 0 and strict.peers() == {"s2": "waiting"}


def test_another_psk_is_named_on_both_sides(make_lab):
    lab = make_lab()
    answering, dialling = lab.mesh(start=False, settings={"psk.file": "mesh.psk"}, dial=lambda a, b: a == 2)
    for gateway in (answering, dialling):
        with open(os.open(gateway.path("mesh.psk"), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(base64.b64encode(os.urandom(32)) + b"\n")
        gateway.start()
    said(dialling, "do both sides have the same psk.file?")
    said(answering, "confirmed none: its psk.file is most likely another")
    assert refused(dialling, "wrong-psk") > 0


def test_a_wrong_key_is_named_on_both_sides(make_lab):
    lab = make_lab()
    one, other = lab.mesh(start=False)
    one.settings["peer.s2.key"] = one.genkey("stranger.key")
    one.start()
    other.start()
    said(other, "it is addressed to another public key than ours")
    said(one, "is not that of any configured peer")
    assert refused(other, "not-for-us") > 0 and refused(one, "unknown-key") > 0


def test_one_key_file_at_two_gateways(make_lab):
    """Sites 2 and 3 have one key, and both dial site 1: it sees the key in two places in turn."""
    lab = make_lab(sites=3)
    first, second, third = lab.mesh(start=False, dial=lambda a, b: b == 1)
    shutil.copy(second.path("site.key"), third.path("site.key"))
    del first.settings["peer.s3.key"]
    del second.settings["peer.s3.key"]
    del third.settings["peer.s2.key"]
    for gateway in (first, second, third):
        gateway.start()
    said(first, "in turn: do two gateways have the same key.file?")
    assert first.show("status")["handshakes"]["rivals"] > 0

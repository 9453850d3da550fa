"""Peers that are named and forgotten while gateways run."""
import time

from lab import BINARY, Gateway, run, wait_for


def peer(gateway, *words, check=True):
    return run(BINARY, "peer", *words, "--socket", gateway.control, check=check)


def test_peers_are_added_kept_and_removed_while_gateways_run(make_lab):
    """Three sites know nobody. Two are named to each other, and find each other again after a restart; a third does not disturb
    them, whatever is wrong about it; who is removed is gone at once."""
    lab = make_lab(sites=3)
    for site in lab.sites:
        gateway = lab.gateways[site] = Gateway(lab, site)
        if site < 3:
            gateway.settings["peers.file"] = "peers"
        gateway.start()
    one, two, three = (lab.gateways[site] for site in lab.sites)
    assert one.peers() == {}
    assert peer(one, "add", "s2", two.key, lab.endpoint(2)).stdout == "added\n"
    assert peer(two, "add", "s1", one.key).stdout == "added\n"
    wait_for("s1 up with s2", lambda: one.peers().get("s2") == "up" and two.peers().get("s1") == "up")
    lab.assert_ping(1, 2)

    for words, problem in ((("add", "s2", three.key), "there is a peer s2 already"),
                           (("add", "again", two.key), "that is the key of the peer s2"),
                           (("add", "self", one.key), "this gateway's own key"), (("add", "s1", three.key), "own name"),
                           (("add", "hub", "-", lab.endpoint(3)), "in no mesh with passes"), (("remove", "s9"), "no peer s9")):
        done = peer(one, *words, check=False)
        assert done.returncode == 1 and problem in done.stderr, done.stderr
    assert one.peers() == {"s2": "up"} and one.log().count("peer s2") < 5

    # Kept: both come back by themselves.
    assert one.stop() == 0 and two.stop() == 0
    one.start()
    two.start()
    wait_for("s1 up with s2 again", lambda: one.peers().get("s2") == "up" and two.peers().get("s1") == "up")
    lab.assert_ping(1, 2)

    assert peer(three, "add", "s1", one.key, lab.endpoint(1)).stdout.startswith("added, until the next start")
    peer(one, "add", "s3", three.key)
    wait_for("s1 up with s3", lambda: one.peers().get("s3") == "up")
    lab.assert_ping(1, 3)
    assert peer(one, "remove", "s2").stdout == "removed; its sessions have ended\n"
    assert "s2" not in one.peers()
    lab.assert_no_ping(1, 2)
    lab.assert_ping(1, 3)
    assert one.stop() == 0
    one.start()
    wait_for("s1 up with s3 again", lambda: one.peers().get("s3") == "up")
    time.sleep(1)
    assert one.peers() == {"s3": "up"}

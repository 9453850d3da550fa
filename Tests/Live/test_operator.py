"""The command line as an operator meets it: keys, configuration, starting, stopping, asking."""
import os
import re
import signal
import stat

import pytest

from lab import BINARY, Gateway, run, wait_for
from wire import BROADCAST, Sniffer, frame, mac_bytes, transmit

NOUNS = ["status", "peers", "ports", "macs", "drops"]


@pytest.fixture(scope="module")
def pair(make_module_lab):
    """Two connected sites, left as they are found."""
    lab = make_module_lab()
    lab.mesh()
    lab.assert_ping(1, 2)
    return lab


def text(done):
    return done.stdout + done.stderr


def test_help_and_usage():
    for command in ([], ["genkey"], ["pubkey"], ["check"], ["run"], ["show"], ["show", "peers"], ["replay"]):
        done = run(BINARY, *command, "--help", check=False)
        assert done.returncode == 0 and "USAGE" in done.stdout.upper(), (command, text(done))
    for command in (["frobnicate"], ["check"], ["show", "weather"], ["genkey"]):
        assert run(BINARY, *command, check=False).returncode == 2, command


def test_keys(tmp_path):
    path = tmp_path / "a.key"
    public = run(BINARY, "genkey", str(path)).stdout.split()[-1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run(BINARY, "pubkey", str(path)).stdout.split()[-1] == public
    before = path.read_bytes()
    again = run(BINARY, "genkey", str(path), check=False)
    assert again.returncode == 1 and "exist" in text(again), text(again)
    assert path.read_bytes() == before, "genkey overwrote a key"


def test_check_lists_every_problem_with_its_place(tmp_path):
    run(BINARY, "genkey", str(tmp_path / "a.key"))
    config = tmp_path / "site.conf"
    config.write_text("site = London\n"                                         # 1: upper case
                      "key.file = a.key\n"
                      "listen = 0.0.0.0:99999\n"                                # 3: no such port
                      "port.lan0.kind = pakcet\n"                               # 4: did you mean packet
                      "port.lan0.device = lan0\n"
                      "mac.aging = 300s\n"                                      # 6: unknown key
                      "peer.nyc.key = abc\n"                                    # 7: not a key
                      "site = paris\n")                                         # 8: twice
    done = run(BINARY, "check", str(config), check=False)
    assert done.returncode == 1, text(done)
    places = {int(line) for line in re.findall(r"site\.conf:(\d+):\d+: \S", text(done))}
    assert {1, 3, 4, 6, 7, 8} <= places, text(done)
    assert "mac.ageing" in text(done), "no hint for the misspelt key"


def test_check_of_a_good_configuration(pair):
    assert run(BINARY, "check", pair.gateways[1].config).returncode == 0


@pytest.mark.parametrize("noun", NOUNS)
def test_show(pair, noun):
    """As text for people, as JSON for programs."""
    gateway = pair.gateways[1]
    done = run(BINARY, "show", noun, "--socket", gateway.control)
    assert done.stdout.strip(), "no text"
    answer = gateway.show(noun)
    assert isinstance(answer, dict)
    if noun != "status":
        assert isinstance(answer[noun], list) and (answer[noun] or noun == "drops")


def test_show_says_who_is_where(pair):
    pair.assert_ping(1, 2)
    gateway = pair.gateways[1]
    assert gateway.peers() == {"s2": "up"}
    assert gateway.show("status")["site"] == "s1"
    macs = {entry["mac"]: entry for entry in gateway.show("macs")["macs"]}
    assert {pair.host_mac(1), pair.host_mac(2)} <= set(macs), macs
    assert macs[pair.host_mac(1)]["port"] == "lan0" and macs[pair.host_mac(2)]["peer"] == "s2", macs


def test_show_without_a_gateway(tmp_path):
    done = run(BINARY, "show", "status", "--socket", str(tmp_path / "none.sock"), check=False)
    assert done.returncode == 1 and "none.sock" in text(done), text(done)


def test_every_frame_is_delivered_or_counted(pair):
    """100 frames that cross and 16 that must not: in = out + dropped, at the port and in `show drops`."""
    near, far = pair.gateways[1], pair.gateways[2]
    ours = mac_bytes(pair.host_mac(1))
    before = near.port()["frames_in"], far.port()["frames_out"], near.drops()
    crossing = [frame(BROADCAST, pair.host_mac(1), payload=bytes([n]) * 20) for n in range(100)]
    reserved = [frame(f"01:80:c2:00:00:{last:02x}", pair.host_mac(1), size=60) for last in range(16)]
    with Sniffer(pair, pair.host(2), outgoing=False) as sniffer:
        transmit(pair, pair.host(1), crossing + reserved)
        assert len(sniffer.frames(count=100, wanted=lambda data: data[6:12] == ours)) == 100

    def settled():
        came = near.port()["frames_in"] - before[0]
        left = far.port()["frames_out"] - before[1]
        dropped = {reason: count - before[2].get(reason, 0) for reason, count in near.drops().items()}
        return (came, left, {reason: count for reason, count in dropped.items() if count}) == (116, 100, {"link-constrained": 16})

    wait_for("116 frames in, 100 delivered at the other site, 16 dropped as link-constrained", settled, seconds=3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clean_stop(make_lab, number):
    lab = make_lab()
    gateways = lab.mesh()
    lab.assert_ping(1, 2)
    assert os.path.exists(gateways[0].control)
    assert gateways[0].stop(number) == 0, gateways[0].log()
    assert not os.path.exists(gateways[0].control), "the control socket is still there"
    assert gateways[1].alive()


def test_a_key_that_others_can_read(make_lab):
    lab = make_lab(sites=1)
    gateway = Gateway(lab, 1)
    os.chmod(gateway.path("site.key"), 0o644)
    gateway.write()
    done = lab.exec(lab.gw(1), BINARY, "run", gateway.config, check=False, timeout=10)
    assert done.returncode == 1 and "site.key" in text(done), text(done)
    assert re.search(r"readable|permission|mode|chmod", text(done), re.IGNORECASE), text(done)


def test_a_second_gateway_with_the_same_socket(make_lab):
    """It says so and leaves; the first one goes on and still answers."""
    lab = make_lab()
    first = lab.mesh()[0]

    def refused(config):
        done = lab.exec(lab.gw(1), BINARY, "run", config, check=False, timeout=10)
        assert done.returncode == 1 and re.search(r"in use|already", text(done), re.IGNORECASE), text(done)

    refused(first.config)
    for name, change in (("same-port", {"control.socket": first.path("other.sock")}), ("same-control", {"listen": "10.200.0.1:7118"})):
        path = first.path(name + ".conf")
        with open(path, "w") as file:
            file.writelines(f"{key} = {value}\n" for key, value in {**first.settings, **change}.items())
        refused(path)
    assert first.alive() and first.peers() == {"s2": "up"}
    lab.assert_ping(1, 2)


def test_a_device_that_does_not_exist(make_lab):
    lab = make_lab(sites=1)
    gateway = Gateway(lab, 1)
    gateway.settings["port.lan0.device"] = "lan9"
    gateway.write()
    done = lab.exec(lab.gw(1), BINARY, "run", gateway.config, check=False, timeout=10)
    assert done.returncode == 1 and "lan9" in text(done), text(done)

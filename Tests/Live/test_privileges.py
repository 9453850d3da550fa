"""What a gateway has given up once it runs, that it still does its work, and where its secrets are."""
import base64
import os
import re
import signal
import subprocess
import time

import pytest

from lab import BINARY, Gateway, run, wait_for

USER, UID = "nobody", 65534


def fields(path):
    """{name: value} of a status file in /proc."""
    with open(path) as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def threads(pid):
    """The status of every thread, by its name; several may have the same."""
    return [fields(f"/proc/{pid}/task/{task}/status") for task in os.listdir(f"/proc/{pid}/task")]


def prepare(lab):
    """What an installation has: a place for the control socket that the gateway makes, in one that everybody may look into."""
    os.chmod(lab.directory, 0o755)
    for gateway in lab.gateways.values():
        os.chmod(gateway.directory, 0o755)
        gateway.control = gateway.path("run/control.sock")
        gateway.settings.update({"control.socket": gateway.control, "user": USER})


def mesh(make_lab, settings=None, kind="packet", **options):
    lab = make_lab(**options)
    lab.mesh(kind=kind, start=False, settings=settings)
    prepare(lab)
    return lab


def start(lab):
    for gateway in lab.gateways.values():
        gateway.start()
    for gateway in lab.gateways.values():
        gateway.wait_up()


def assert_given_up(gateway, uid=UID, sandbox=True, capabilities=0):
    for status in threads(gateway.process.pid):
        name = status["Name"]
        assert status["Uid"].split() == [str(uid)] * 4, (name, status["Uid"])
        assert status["Gid"].split() == [str(uid)] * 4, (name, status["Gid"])
        assert status["Groups"].split() in ([], [str(uid)] if uid == 0 else []), (name, status["Groups"])
        for kind in ("CapEff", "CapPrm", "CapBnd"):
            assert int(status[kind], 16) == capabilities, (name, kind, status[kind])
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0, (name, status)
        assert status["NoNewPrivs"] == "1", name
        assert status["Seccomp"] == ("2" if sandbox else "0"), name


def names(gateway):
    return {status["Name"] for status in threads(gateway.process.pid)}


def test_every_thread_has_given_everything_up(make_lab):
    lab = mesh(make_lab)
    start(lab)
    lab.assert_ping(1, 2)
    for gateway in lab.gateways.values():
        assert {"control", "lane 0"} <= names(gateway)
        assert_given_up(gateway)
        shown = gateway.show("status")["confinement"]
        assert shown["user"] == USER and shown["capabilities"] == [] and shown["no_new_privileges"] and shown["seccomp"], shown
        assert shown["landlock"] >= 1, shown
        text = run(BINARY, "show", "status", "--socket", gateway.control).stdout
        assert re.search(r"privileges +user nobody, no capabilities; files restricted by Landlock \d+, system calls by seccomp", text), text
        assert "runs as root" not in gateway.log()
    one = lab.gateways[1]
    # The socket is the user's, and so is the directory that was made for it.
    for path, mode in ((one.control, 0o140600), (os.path.dirname(one.control), 0o40755)):
        found = os.stat(path)
        assert (found.st_uid, found.st_gid, found.st_mode) == (UID, UID, mode), (path, found)
    assert one.stop() == 0, one.log()
    assert not os.path.exists(one.control), "the control socket is still there"
    one.start()
    one.wait_up()
    lab.assert_ping(1, 2)


def test_a_group_may_ask(make_lab):
    lab = mesh(make_lab, settings={"group": "12345"}, sites=1)
    gateway = lab.gateways[1]
    gateway.start()
    wait_for("an answer", lambda: gateway.show("status"))
    found = os.stat(gateway.control)
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (UID, 12345, 0o660)
    argv = [BINARY, "show", "status", "--socket", gateway.control]
    binary = os.path.join(lab.directory, "causeway")
    os.link(BINARY, binary) if os.stat(BINARY).st_dev == os.stat(lab.directory).st_dev else run("cp", BINARY, binary)
    argv[0] = binary
    os.chmod(binary, 0o755)

    def ask(**who):
        return subprocess.run(argv, capture_output=True, text=True, extra_groups=[], **who)

    assert ask(user=54321, group=12345).returncode == 0
    refused = ask(user=54321, group=54321)
    assert refused.returncode == 1 and "members of its group" in refused.stderr, refused.stderr


@pytest.mark.parametrize("settings", [{}, {"sandbox": "off"}])
def test_root_stays_root_without_capabilities(make_lab, settings):
    lab = make_lab()
    gateways = lab.mesh(settings=settings)
    lab.assert_ping(1, 2)
    assert_given_up(gateways[0], uid=0, sandbox=not settings)
    assert "the gateway runs as root" in gateways[0].log()
    shown = gateways[0].show("status")["confinement"]
    assert (shown["user"], shown["seccomp"], "landlock" in shown) == ("root", not settings, not settings)
    assert gateways[0].stop() == 0
    assert not os.path.exists(gateways[0].control)


@pytest.mark.parametrize("settings", [
    {"lanes": "2"}, {"offload.connect": "on", "lanes": "1"}, {"cpu.wake-up": "fast", "lane.wait": "poll", "lanes": "1"},
], ids=["lanes", "connect", "wake-up"])
def test_what_is_done_while_running_still_works(make_lab, settings):
    """Traffic of many frames, sockets opened later, a device that goes down and comes up."""
    lab = mesh(make_lab, settings=settings)
    start(lab)
    one = lab.gateways[1]
    assert_given_up(one)
    lab.assert_ping(1, 2, "-s", "4000", count=20, interval=0.01)
    if "offload.connect" in settings:
        def connected():
            lab.assert_ping(1, 2)
            sockets = lab.exec(lab.gw(1), "ss", "-unH", "state", "established").stdout
            return "10.200.0.2:7117" in sockets
        wait_for("a connected socket", connected)
        lab.assert_ping(1, 2, "-s", "4000", count=50, interval=0.01)
    lab.ip(lab.gw(1), "link", "set", "lan0", "down")
    wait_for("the port down", lambda: one.port()["state"] == "down")
    lab.ip(lab.gw(1), "link", "set", "lan0", "up")
    wait_for("the port up", lambda: one.port()["state"] == "up")
    lab.wait_ping(1, 2)
    assert_given_up(one)
    assert one.stop() == 0


@pytest.mark.parametrize("kind", ["tap", "pcap"])
def test_other_ports(make_lab, kind):
    lab = mesh(make_lab, kind=kind)
    if kind == "pcap":
        for site in lab.sites:
            lab.exec(lab.gw(site), "ethtool", "-K", "lan0", "gro", "off", "gso", "off", "tso", "off", check=False)
            lab.exec(lab.host(site), "ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off", check=False)
    start(lab)
    assert_given_up(lab.gateways[1])
    lab.wait_ping(1, 2)
    lab.assert_ping(1, 2, count=10, interval=0.05)
    wait_for("the port's counters", lambda: lab.gateways[1].port()["frames_in"] >= 10)
    assert lab.gateways[1].stop() == 0


def test_names_are_resolved_again(make_lab):
    """A peer by its name, which is found in /etc/hosts only after the start: a file that was replaced, as DHCP clients do."""
    lab = mesh(make_lab)
    one, two = lab.gateways[1], lab.gateways[2]
    one.settings[f"peer.{two.name}.address"] = "far.causeway.test:7117"
    del two.settings[f"peer.{one.name}.address"]
    place = f"/etc/netns/{lab.gw(1)}"           # `ip netns exec` puts what is in it over /etc
    os.makedirs(place)
    try:
        hosts = os.path.join(place, "hosts")
        for path, text in ((hosts, "127.0.0.1 localhost\n"), (os.path.join(place, "nsswitch.conf"), "hosts: files\n")):
            with open(path, "w") as file:
                file.write(text)
        for gateway in (one, two):
            gateway.start()
        wait_for("the name asked for", lambda: "could not be resolved" in one.log())
        time.sleep(6)                           # it is asked for again, and not said again
        with open(hosts, "a") as file:
            file.write("10.200.0.2 far.causeway.test\n")
        one.wait_up(20)
        assert one.log().count("could not be resolved") == 1, one.log()
        assert_given_up(one)
        lab.assert_ping(1, 2)
    finally:
        run("rm", "-r", place)
        if not os.listdir("/etc/netns"):
            os.rmdir("/etc/netns")


def test_the_user_itself_cannot_look_inside(make_lab):
    """Another process of the same user can neither read its memory nor see what it has open."""
    lab = mesh(make_lab, sites=1)
    gateway = lab.gateways[1]
    gateway.start()
    wait_for("an answer", lambda: gateway.show("status"))
    pid = gateway.process.pid
    for name in ("mem", "maps", "environ", "fd", "root"):
        tool = ["ls", "-L"] if name in ("fd", "root") else ["head", "-c", "1"]
        done = subprocess.run([*tool, f"/proc/{pid}/{name}"], capture_output=True, text=True, user=UID, group=UID, extra_groups=[])
        assert done.returncode != 0 and "denied" in done.stderr, (name, done)


def test_no_core_is_dumped(make_lab):
    lab = mesh(make_lab, sites=1)
    gateway = lab.gateways[1]
    gateway.start()
    wait_for("an answer", lambda: gateway.show("status"))
    limits = open(f"/proc/{gateway.process.pid}/limits").read()
    assert re.search(r"Max core file size +0 +0 ", limits), limits
    gateway.process.send_signal(signal.SIGXCPU)         # its action is to dump a core, and Swift does not catch it
    pid, status = os.waitpid(gateway.process.pid, 0)
    gateway.process.returncode = -signal.SIGXCPU
    assert os.WIFSIGNALED(status) and not os.WCOREDUMP(status), status
    # One that was killed leaves its socket; the next takes its place.
    assert os.path.exists(gateway.control)
    gateway.start()
    wait_for("an answer", lambda: gateway.show("status"))


def test_who_cannot_become_that_user_says_so(make_lab):
    lab = mesh(make_lab, sites=1)
    gateway = lab.gateways[1]
    for settings, words in (({"user": "no-such-user-here"}, "there is no such user"), ({"user": "54321"}, "set group as well"),
                            ({"user": USER, "group": "no-such-group-here"}, "there is no such group")):
        gateway.settings.update(settings)
        gateway.write()
        done = lab.exec(lab.gw(1), BINARY, "run", gateway.config, check=False, timeout=10)
        assert done.returncode == 1 and words in done.stderr, done.stderr
    # setpriv's user, with just what is needed to open things, as file capabilities or AmbientCapabilities give it.
    gateway.settings.pop("group")
    gateway.settings["control.socket"] = gateway.control = gateway.path("plain.sock")
    os.chown(gateway.directory, UID, UID)
    os.chown(gateway.path("site.key"), UID, UID)
    binary = os.path.join(lab.directory, "causeway")
    run("cp", BINARY, binary)
    os.chmod(binary, 0o755)

    def launch(user):
        gateway.settings["user"] = user
        gateway.write()
        with open(gateway.path("log"), "a") as log:
            return lab.popen(lab.gw(1), "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups",
                             "--inh-caps=+net_raw,+net_admin", "--ambient-caps=+net_raw,+net_admin", binary, "run", gateway.config,
                             stdout=log, stderr=subprocess.STDOUT)

    process = launch("daemon")
    assert process.wait(10) == 1
    assert "start the gateway as root, or as that user" in gateway.log(), gateway.log()
    gateway.process = launch(USER)
    wait_for("an answer", lambda: gateway.alive() and gateway.show("status"))
    for status in threads(gateway.process.pid):
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapAmb"], 16) == 0, status
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1" and status["Uid"].split()[0] == str(UID)
    assert gateway.stop() == 0
    assert not os.path.exists(gateway.control)


# Secrets

def mappings(pid):
    """(start, end, permissions, VmFlags, name) of every mapping that can be read."""
    found = []
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
            if head:
                found.append([int(head[1], 16), int(head[2], 16), head[3], set(), head[4].strip()])
            elif line.startswith("VmFlags:"):
                found[-1][3] = set(line.split()[1:])
    return found


def find(pid, needle):
    """The mappings that hold these octets, one for each time."""
    hits = []
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for mapping in mappings(pid):
            start, end, permissions, flags, name = mapping
            if "r" not in permissions or name in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:
                continue
            hits += [mapping] * data.count(needle)
    return hits


def test_secrets_are_in_guarded_memory_only(make_lab):
    """Private key and pre-shared key: in locked pages that no core dump has, and nowhere else, in octets or as text."""
    lab = mesh(make_lab, settings={"psk.file": "mesh.psk", "rekey.time": "1s"})
    lab.gateways[1].genkey("mesh.psk")
    with open(lab.gateways[1].path("mesh.psk"), "rb") as file:
        shared = file.read()
    with open(os.open(lab.gateways[2].path("mesh.psk"), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(shared)
    start(lab)
    lab.assert_ping(1, 2, count=20)         # a few handshakes
    for gateway in lab.gateways.values():
        for name in ("site.key", "mesh.psk"):
            with open(gateway.path(name), "rb") as file:
                text = file.read().strip()
            octets = base64.b64decode(text)
            # Without the ends: X25519 clamps copies of a key there.
            hits = find(gateway.process.pid, octets[1:31])
            assert len(hits) == 1, (gateway.name, name, hits)
            assert {"lo", "dd"} <= hits[0][3] and hits[0][2].startswith("r--"), (name, hits)
            assert find(gateway.process.pid, text[2:40]) == [], f"{name} as text in {gateway.name}"
        # The scan does find what is in ordinary memory.
        assert find(gateway.process.pid, gateway.key.encode()) or find(gateway.process.pid, base64.b64decode(gateway.key))


@pytest.mark.parametrize("how", ["mode", "owner", "directory", "link"])
def test_key_files_that_others_could_change(make_lab, how):
    lab = make_lab(sites=1)
    gateway = Gateway(lab, 1)
    key, words = gateway.path("site.key"), ""
    if how == "mode":
        os.chmod(key, 0o640)
        words = "chmod 600"
    elif how == "owner":
        os.chown(key, UID, UID)
        words = "belongs to user 65534"
    elif how == "directory":
        os.chmod(gateway.directory, 0o777)
        words = "chmod go-w"
    else:
        place = gateway.path("open")
        os.mkdir(place)
        os.rename(key, os.path.join(place, "site.key"))
        os.symlink(os.path.join(place, "site.key"), key)
        os.chmod(place, 0o777)
        words = f"{place} is writable"
    gateway.write()
    done = lab.exec(lab.gw(1), BINARY, "run", gateway.config, check=False, timeout=10)
    assert done.returncode == 1 and "site.key" in done.stderr and words in done.stderr, done.stderr

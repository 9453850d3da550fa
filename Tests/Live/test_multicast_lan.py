"""Multicast and what else is on a LAN: a Linux bridge that snoops and asks, smcroute as a multicast router, PIM; and settings of a site."""
import re
import struct
import time

import pytest

from groups import (FAST, FEEDGEN, K10, MARGIN, PIM, Feed, Member, Watch, decode, gateway_mac, is_membership, wait_no_wish, wait_wish)
from lab import BINARY, run, wait_for
from wire import transmit

ROUTER = 2              # the number of the host that is a multicast router


@pytest.fixture
def mesh(make_lab):
    """Makes a lab whose gateways run; `change(lab)` comes before they start."""
    def make(change=lambda lab: None, sites=2, hosts=3, settings=None, own=None):
        lab = make_lab(sites=sites, hosts=hosts)
        change(lab)
        lab.mesh(start=False, settings={**FAST, **(settings or {})})
        for site, extra in (own or {}).items():
            lab.gateways[site].settings.update(extra)
        for gateway in lab.gateways.values():
            gateway.start()
        for gateway in lab.gateways.values():
            gateway.wait_up()
        time.sleep(1)           # startup queries and their answers
        return lab
    return make


def snoop(lab, site, querier=False, address=None):
    """The switch of a site snoops; it asks by itself, from 0.0.0.0 or from an address."""
    switch = lab.namespace(f"l{site}")
    if address:
        lab.ip(switch, "addr", "add", address + "/16", "dev", "lbr")
    lab.ip(switch, "link", "set", "lbr", "type", "bridge", "mcast_snooping", "1", "mcast_igmp_version", "3", "mcast_query_interval", "100",
           "mcast_query_response_interval", "50", "mcast_startup_query_interval", "25", "mcast_last_member_interval", "20",
           "mcast_membership_interval", "300", "mcast_query_use_ifaddr", str(int(address is not None)))
    # Not before its response interval is set: it floods for that long.
    lab.ip(switch, "link", "set", "lbr", "type", "bridge", "mcast_querier", str(int(querier)))


def mdb(lab, site):
    """What the switch of a site knows: {(group, port)}."""
    text = lab.exec(lab.namespace(f"l{site}"), "bridge", "mdb", "show").stdout
    return set(re.findall(r"grp (\S+).*?port (\S+)", text)) | {(grp, port) for port, grp in re.findall(r"port (\S+) grp (\S+)", text)}


# A bridge that snoops

@pytest.mark.parametrize("querier, address", [(False, None), (True, None), (True, "10.77.200.2")],
                         ids=["no-querier", "querier-0.0.0.0", "querier-elected"])
def test_a_snooping_bridge_on_the_lan(mesh, querier, address):
    """Our queries make our port a router port of the bridge: joins behind it are heard, feeds behind it come out, and hosts that
    did not join see nothing. A querier without an address changes nothing; one with a lower address than ours is elected."""
    lab = mesh(lambda lab: snoop(lab, 2, querier, address))
    near, far = lab.gateways.values()
    record = next(one for one in far.show("queriers")["queriers"] if one["vlan"] == "-" and one["protocol"] == "IGMP")
    if address:
        assert (record["state"], record["elected"]) == ("listening", address), record
        assert [(one["kind"], one["address"]) for one in far.show("routers")["routers"]] == [("querier", address)]
        # When the port came up its hosts were asked from 0.0.0.0 (rule 7). Linux takes that for another querier's, falls silent,
        # and floods for the response time; we take over.
        wait_for("the port is up", lambda: "port lan0 (lan0) is up" in far.log())
        time.sleep(1)
    else:
        assert record["state"] == "querier" and far.show("routers")["routers"] == [], record
    inwards, outwards = "239.3.1.1", "239.3.1.2"
    with Feed(lab, 1, inwards), Watch(lab, 2) as watch, Watch(lab, 2, number=2) as bystander:
        with Member(lab, 2, inwards) as member:
            watch.first(inwards)
            wait_wish(near, "s2", inwards)
            time.sleep(2.5)             # more than two query intervals: it stays
            numbers = [number for _, number in watch.arrivals(inwards, 0.2)]
            assert numbers and numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a gap"
            assert bystander.arrivals(inwards, 0.1) == [], "the bridge floods it"
            left = member.leave()
            assert max(when for when, _ in watch.arrivals(inwards, K10 + MARGIN + 0.5)) < left + K10 + MARGIN
    with Member(lab, 1, outwards), Watch(lab, 1) as watch, Watch(lab, 2, number=2) as bystander, Feed(lab, 2, outwards, number=3):
        watch.first(outwards)
        bystander.arrivals(outwards, 0.3)
        time.sleep(0.5)
        assert bystander.arrivals(outwards, 0.1) == [], "the bridge floods it"
        assert watch.arrivals(outwards, 0.2)


# Routers

def add_upstream(lab, site):
    """The router host gets a second leg, eth1 to a host of its own behind it: 10.99.SITE.1 and .2. Returns that host's namespace."""
    router = lab.host(site, ROUTER)
    behind = lab._add_namespace(f"u{site}")
    lab.ip(router, "link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", behind)
    lab.ip(router, "addr", "add", f"10.99.{site}.1/24", "dev", "eth1")
    lab.ip(behind, "addr", "add", f"10.99.{site}.2/24", "dev", "eth0")
    lab.ip(router, "link", "set", "eth1", "up")
    lab.ip(behind, "link", "set", "eth0", "up")
    lab.ip(behind, "route", "add", "default", "via", f"10.99.{site}.1")
    for name in ("all", "eth0", "eth1"):
        lab.exec(router, "sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
    return behind


def smcroute(lab, site, *lines):
    """smcrouted in the router host, with these lines as its configuration."""
    path = f"{lab.directory}/smcroute-{site}"
    with open(path + ".conf", "w") as file:
        file.writelines(line + "\n" for line in lines)
    router = lab.host(site, ROUTER)
    process = lab.popen(router, "smcrouted", "-n", "-f", path + ".conf", "-P", path + ".pid", "-u", path + ".sock")
    wait_for("smcrouted's routes", lambda: process.poll() is None and "eth0" in lab.exec(router, "cat", "/proc/net/ip_mr_vif").stdout)


def test_a_router_is_told_what_other_sites_want(mesh):
    """Site 1 has a querier (its switch's kernel) and a router (smcroute). What site 2 joins is reported there as IGMPv3, and on no
    LAN without a router; the router's feed then reaches site 2, and a querier alone makes no site that gets everything."""
    upstream = []

    def change(lab):
        snoop(lab, 1, querier=True, address="10.77.200.1")
        upstream.append(add_upstream(lab, 1))
        smcroute(lab, 1, "mgroup from eth1 group 239.4.1.1", "mroute from eth1 group 239.4.1.1 to eth0")

    lab = mesh(change, sites=3)
    own = gateway_mac(lab, 1)
    assert [(one["kind"], one["port"]) for one in lab.gateways[1].show("routers")["routers"]] == [("querier", "lan0")]
    remote = wait_for("site 2 knows of site 1's querier", lambda: lab.gateways[2].show("routers")["remote"])
    assert (remote[0]["site"], remote[0]["kinds"], remote[0]["wants_everything"]) == ("s1", ["querier"], False)

    with Watch(lab, namespace=lab.namespace("l1"), device="up0") as switch, Watch(lab, 2) as two, Watch(lab, 3) as three:
        with Member(lab, 2, "239.4.1.1") as member:
            wait_for("the switch knows that our port wants the group", lambda: ("239.4.1.1", "up0") in mdb(lab, 1))
            reports = [decode(data) for data in switch.frames(0.2, wanted=lambda data: is_report(data) and data[6:12] == own)]
            assert reports, "no report of ours on site 1's LAN"
            for report in reports:
                assert report["IP"].dst == "224.0.0.22" and report["IP"].ttl == 1 and report["IP"].src != "0.0.0.0"
                assert [record.maddr for record in report["IGMPv3mr"].records] == ["239.4.1.1"]
            with UpstreamFeed(lab, upstream[0], "239.4.1.1") as feed:
                two.first("239.4.1.1")
            assert feed.sent
            # An unasked group of site 2 does not go to the site of the querier.
            before = sent_to(lab.gateways[2], "s1")
            with Feed(lab, 2, "239.4.1.9"):
                time.sleep(0.5)
            assert sent_to(lab.gateways[2], "s1") == before
            member.leave()
        wait_for("the switch knows that nobody wants it", lambda: ("239.4.1.1", "up0") not in mdb(lab, 1), seconds=5)
        # Gateways of LANs without a router report nothing; nor do the hosts' reports come back.
        for site, watch in ((2, two), (3, three)):
            said = watch.frames(0.1, wanted=lambda data: is_report(data) and data[6:12].hex() != lab.host_mac(site).replace(":", ""))
            assert not said, f"a report on the LAN of site {site}: {said[0].hex()}"


def test_a_router_that_joins_gets_the_feed_of_another_site(mesh):
    """smcroute at site 1 joins as a host does, and carries the feed of site 2 on to the host behind it."""
    upstream = []

    def change(lab):
        upstream.append(add_upstream(lab, 1))
        smcroute(lab, 1, "mgroup from eth0 group 239.4.2.1", "mroute from eth0 group 239.4.2.1 to eth1")

    lab = mesh(change)
    wait_wish(lab.gateways[2], "s1", "239.4.2.1")
    with Watch(lab, namespace=upstream[0]) as behind, Feed(lab, 2, "239.4.2.1"):
        behind.first("239.4.2.1")


class UpstreamFeed(Feed):
    """A feed from the host behind the router."""

    def __init__(self, lab, namespace, address):
        class Place:
            socket = lab.socket
            host = staticmethod(lambda site, number: namespace)
        super().__init__(Place, 0, address)


def is_report(data):
    return is_membership(data) and data[12:14] == b"\x08\x00" and data[14 + 4 * (data[14] & 15)] in (0x12, 0x16, 0x17, 0x22)


def sent_to(gateway, site):
    """Frames of groups that nobody joined, which went to a site."""
    return sum(one["frames"] for other in gateway.show("groups")["unregistered"] for one in other["sites"] if one["site"] == site)


def pim_hello(source, hold_time):
    """A PIM Hello with one option, the holdtime (RFC 7761 section 4.9.2)."""
    message = struct.pack("!BBHHHH", 0x20, 0, 0, 1, 2, hold_time)
    message = message[:2] + struct.pack("!H", FEEDGEN["checksum"](message)) + message[4:]
    packet = FEEDGEN["ipv4"](source[1], "224.0.0.13", PIM, message, ttl=1, tos=0xC0)
    return FEEDGEN["ethernet"]("01:00:5e:00:00:0d", source[0], 0x0800, packet)


@pytest.mark.parametrize("setting", ["pim", "none"])
def test_a_pim_router_gets_everything(mesh, setting):
    """Rule 36: a site where PIM was heard gets every group until the router says goodbye, unless router-sites = none."""
    lab = mesh(hosts=2, own={2: {"multicast.router-sites": setting}})
    near, far = lab.gateways.values()
    address, router = "239.4.3.1", (lab.host_mac(2, ROUTER), lab.host_ip(2, ROUTER))
    with Feed(lab, 1, address), Watch(lab, 2, number=ROUTER) as watch:
        assert watch.arrivals(address, 0.3) == []
        transmit(lab, lab.host(2, ROUTER), [pim_hello(router, 105)])
        remote = wait_for("site 1 knows of the router", lambda: near.show("routers")["remote"])[0]
        assert (remote["site"], remote["kinds"], remote["wants_everything"]) == ("s2", ["pim"], setting == "pim")
        assert [(one["kind"], one["address"]) for one in far.show("routers")["routers"]] == [("pim", router[1])]
        assert near.show("routers")["routers"] == [], "the router of site 2 was taken for one of site 1"
        if setting == "none":
            assert watch.arrivals(address, 0.5) == []
            return
        watch.first(address)
        text = run_why(near, address, "s2")
        assert "rule 36" in text and "pim" in text, text
        transmit(lab, lab.host(2, ROUTER), [pim_hello(router, 0)])
        wait_for("site 1 knows that the router is gone", lambda: not near.show("routers")["remote"])
        watch.arrivals(address, 0.1)
        assert watch.arrivals(address, 0.3) == []


def run_why(gateway, address, site):
    return run(BINARY, "why", address, "--to", site, "--socket", gateway.control).stdout


# A site's settings

def test_unregistered_groups_are_flooded_where_a_site_wants_that(mesh):
    """What nobody at site 2 has joined comes there; what somebody there has joined by source, from that source only. Not to site 3."""
    lab = mesh(sites=3, hosts=1, own={2: {"multicast.unregistered": "flood"}})
    address = "239.10.1.1"
    wait_for("site 1 knows that site 2 floods", lambda: lab.gateways[1].show("routers")["flooding_sites"] == ["s2"])
    with Feed(lab, 1, address), Watch(lab, 2) as two, Watch(lab, 3) as three:
        two.first(address)
        assert "flood" in run_why(lab.gateways[1], address, "s2")
        with Member(lab, 2, address, source="10.77.9.9"):
            wait_wish(lab.gateways[1], "s2", address)
            two.arrivals(address, 0.1)
            assert two.arrivals(address, 0.3) == []
        two.first(address)
        assert three.arrivals(address, 0.1) == []


def test_static_groups_are_joined_before_anyone_asks(mesh):
    lab = mesh(hosts=1, own={2: {"multicast.static": "239.10.2.1, 232.10.2.1 from 10.77.0.1, 232.10.2.2 from 10.77.9.9"}})
    near, far = lab.gateways.values()
    assert far.group("239.10.2.1")["is_static"] and near.wish("s2", "239.10.2.1")["mode"] == "exclude"
    with Watch(lab, 2) as watch:
        for address in ("239.10.2.1", "232.10.2.1"):
            with Feed(lab, 1, address):
                watch.first(address)
        for address in ("239.10.2.2", "232.10.2.2"):
            with Feed(lab, 1, address):
                assert watch.arrivals(address, 0.3) == []
        with Member(lab, 2, "239.10.2.1") as member:            # a member that goes takes nothing away
            time.sleep(0.1)
            member.leave()
        with Feed(lab, 1, "239.10.2.1"):
            time.sleep(K10 + MARGIN)
            watch.arrivals("239.10.2.1", 0.1)
            watch.first("239.10.2.1")


def test_snooping_off(mesh):
    """A site that does not snoop gets everything and asks nobody; what its hosts send goes where others want it, which snoop."""
    lab = mesh(hosts=1, sites=3, own={2: {"multicast.snooping": "off"}})
    with Feed(lab, 1, "239.10.3.1"), Watch(lab, 2) as two, Watch(lab, 3) as three:
        two.first("239.10.3.1")
        assert three.arrivals("239.10.3.1", 0.1) == []
        assert not [data for data in two.frames(1.5, wanted=is_membership) if data[6:12] == gateway_mac(lab, 2)]
    with Feed(lab, 2, "239.10.3.2"), Watch(lab, 1) as one, Watch(lab, 3) as three, Member(lab, 1, "239.10.3.2"):
        one.first("239.10.3.2")
        assert three.arrivals("239.10.3.2", 0.1) == [], "nobody joined it at a site that snoops"

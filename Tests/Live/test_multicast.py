"""Multicast between sites: the kernel's own hosts join and leave, and feeds go where they are wanted, and only there."""
import json
import statistics
import time

import pytest

from groups import (FAST, K4, K10, MARGIN, Feed, Member, Watch, datagram, enable_ipv6, feed_number, forced_version, gateway_mac, goes_to,
                    host_ipv6, igmp, is_membership, join_report, members, packed, rules, wait_no_wish, wait_wish)
from lab import BINARY, run, wait_for
from wire import Sniffer, transmit


@pytest.fixture(scope="module")
def pair(make_module_lab):
    """Two sites of two hosts each, with IPv4 and IPv6."""
    lab = make_module_lab(hosts=2)
    for site in lab.sites:
        for number in (1, 2):
            enable_ipv6(lab, site, number)
    lab.mesh(settings=FAST)
    time.sleep(2)           # K1 queries are answered: the gateways know every host there is
    return lab


@pytest.fixture(scope="module")
def three(make_module_lab):
    """Three sites; a packet of the WAN is at most an MTU long, so that counting is easy."""
    lab = make_module_lab(sites=3, offloads=False)
    lab.mesh(settings=FAST)
    time.sleep(2)
    return lab


def leaves_in_time(member, watch, address, bound=K10 + MARGIN, watched=1.0, silent=False):
    """The host leaves: the last frame comes within the bound, and then no more. Returns how long it took."""
    left = member.leave(silent)
    frames = watch.arrivals(address, seconds=bound + watched)
    late = [when - left for when, _ in frames if when > left + bound]
    assert not late, f"{len(late)} frames came up to {max(late):.3f} s after the leave, {bound:g} s are allowed"
    return max((when for when, _ in frames), default=left) - left


# Kernel hosts

@pytest.mark.parametrize("version, address", [(2, "239.1.2.1"), (3, "239.1.3.1")])
def test_join_and_leave(pair, version, address):
    """IP_ADD_MEMBERSHIP: the feed comes, both gateways tell who asked and in which version, and a leave ends it in K10."""
    near, far = pair.gateways.values()
    with forced_version(pair, 2, "igmp", version), Feed(pair, 1, address), Watch(pair, 2) as watch:
        assert watch.arrivals(address, 0.3) == [], "a feed that nobody joined crosses"
        with Member(pair, 2, address) as member:
            watch.first(address)
            host = wait_for("the member is shown", lambda: members(far, address).get(pair.host_ip(2)))
            assert (host["version"], host["mode"], host["mac"]) == (f"IGMPv{version}", "exclude", pair.host_mac(2))
            assert far.group(address)["wish"] == {"mode": "exclude", "sources": [], "versions": [f"IGMPv{version}"]}
            assert wait_wish(near, "s2", address) == {"mode": "exclude", "sources": [], "versions": [f"IGMPv{version}"]}
            leaves_in_time(member, watch, address)
    wait_no_wish(near, "s2", address)
    assert not members(far, address)
    assert near.group(address)["frames_from_lan"] > 0 and far.group(address)["frames_from_mesh"] > 0, "what was forwarded is forgotten"


def test_version_1_host(pair):
    """A host of version 1 says no goodbye: the group stays for K4, then it ends."""
    address = "239.1.1.1"
    near, far = pair.gateways.values()
    with forced_version(pair, 2, "igmp", 1), Feed(pair, 1, address), Watch(pair, 2) as watch:
        with Member(pair, 2, address) as member:
            watch.first(address)
            assert wait_for("the member is shown", lambda: members(far, address).get(pair.host_ip(2)))["version"] == "IGMPv1"
            assert wait_wish(near, "s2", address)["versions"] == ["IGMPv1"]
            last = leaves_in_time(member, watch, address, bound=K4 + MARGIN, silent=True)
    assert last > 1, f"the feed ended {last:.2f} s after a host of version 1 fell silent"
    wait_no_wish(near, "s2", address)


@pytest.mark.parametrize("version, address", [(1, "ff15::1:1"), (2, "ff15::2:1")])
def test_join_and_leave_ipv6(pair, version, address):
    """IPV6_JOIN_GROUP, as MLDv1 and MLDv2."""
    near, far = pair.gateways.values()
    with forced_version(pair, 2, "mld", version), Feed(pair, 1, address), Watch(pair, 2) as watch:
        assert watch.arrivals(address, 0.3) == [], "a feed that nobody joined crosses"
        with Member(pair, 2, address) as member:
            watch.first(address)
            hosts = wait_for("the member is shown", lambda: members(far, address))
            assert [host["version"] for host in hosts.values()] == [f"MLDv{version}"] and all(name.startswith("fe80:") for name in hosts)
            assert wait_wish(near, "s2", address) == {"mode": "exclude", "sources": [], "versions": [f"MLDv{version}"]}
            leaves_in_time(member, watch, address)
    wait_no_wish(near, "s2", address)


@pytest.mark.parametrize("address", ["239.1.9.1", "232.1.9.1", "ff15::9:1", "ff3e::8000:91"], ids=["IPv4", "IPv4-SSM", "IPv6", "IPv6-SSM"])
def test_join_of_a_source(pair, address):
    """MCAST_JOIN_SOURCE_GROUP: that source's feed crosses, another's to the same group does not."""
    near = pair.gateways[1]
    wanted, other = ((host_ipv6(1, n) if ":" in address else pair.host_ip(1, n)) for n in (1, 2))
    with Feed(pair, 1, address), Feed(pair, 1, address, number=2), Watch(pair, 2) as watch, Member(pair, 2, address, source=wanted) as member:
        watch.first(address)
        assert wait_wish(near, "s2", address)["mode"] == "include" and near.wish("s2", address)["sources"] == [wanted]
        time.sleep(0.3)
        sources = {source_of(data) for data in watch.frames(0.2, wanted=lambda data: goes_to(data, address))}
        assert sources == {packed(wanted)}, f"{wanted} was asked for, not {other}"
        leaves_in_time(member, watch, address)
    wait_no_wish(near, "s2", address)


def source_of(data):
    return data[26:30] if data[12:14] == b"\x08\x00" else data[22:38]


@pytest.mark.parametrize("versions, address", [((3, 3), "239.7.3.1"), ((2, 2), "239.7.2.1"), ((2, 3), "239.7.23.1")], ids=["v3", "v2", "v2-v3"])
def test_one_host_leaves_while_another_listens(pair, versions, address):
    """No gap in the other's numbers, no change in what the site is known to want, and nothing of it crosses."""
    near, far = pair.gateways.values()
    with forced_version(pair, 2, "igmp", versions[0]), forced_version(pair, 2, "igmp", versions[1], number=2), \
            Feed(pair, 1, address), Watch(pair, 2, number=2) as watch, Watch(pair, 1) as home:
        with Member(pair, 2, address) as first, Member(pair, 2, address, number=2):
            wait_for("both members are known", lambda: len(members(far, address)) == 2)
            before = wait_wish(near, "s2", address)
            watch.arrivals(address, 0.1)
            left = first.leave(silent=versions[0] == 2)
            frames = watch.arrivals(address, 3 * K10 + 0.5)
            assert near.wish("s2", address)["mode"] == before["mode"] == "exclude"
            if versions != (2, 2):      # a host of version 2 that has heard the other's report leaves in silence
                assert list(members(far, address)) == [pair.host_ip(2, 2)]
        crossed = home.frames(0.1, wanted=lambda data: is_membership(data) and data[6:12] != gateway_mac(pair, 1))
    numbers = [number for _, number in frames]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a gap"
    assert frames[-1][0] > left + 2 * K10
    assert not [data for data in crossed if data[11] != 1], "a report or query of site 2 came to site 1"
    wait_no_wish(near, "s2", address)


def test_neither_reports_nor_queries_cross(pair):
    """Hosts of site 1 join and leave in both families: site 2's hosts hear queries of their own gateway, and nothing else."""
    own = gateway_mac(pair, 2)
    foreign = {pair.host_mac(1).replace(":", ""), pair.host_mac(1, 2).replace(":", ""), gateway_mac(pair, 1).hex()}
    with Watch(pair, 2) as far, Watch(pair, 1, outgoing=True) as near:
        for version in (1, 2, 3):
            with forced_version(pair, 1, "igmp", version), Member(pair, 1, f"239.5.{version}.1"), Member(pair, 1, "ff15::5", number=2):
                time.sleep(0.5)
        time.sleep(0.5)
        said = [data for data in near.frames(0.1, wanted=is_membership) if data[6:12].hex() in foreign]
        heard = far.frames(0.1, wanted=is_membership)
    assert len(said) > 6, "the hosts of site 1 said nothing to carry"
    crossed = [data for data in heard if data[6:12].hex() in foreign]
    assert not crossed, f"{len(crossed)} messages crossed, the first is {crossed[0].hex()}"
    queries = [data for data in heard if data[6:12] == own]
    assert queries, "site 2's own gateway asked nothing"
    for data in queries:            # TTL 1, TOS 0xc0 and Router Alert; for MLD hop limit 1 and a link-local source
        if data[12:14] == b"\x08\x00":
            assert (data[14], data[15], data[22], data[34:38]) == (0x46, 0xC0, 1, b"\x94\x04\0\0") and data[26:30] != bytes(4)
        else:
            assert data[21] == 1 and data[22:24] == b"\xfe\x80" and b"\x05\x02\0\0" in data[54:62]


def test_fifty_joins_are_one_fact(pair):
    near = pair.gateways[1]
    told = near.show("groups")["facts"]
    with Member(pair, 1, "239.5.50.1"):
        frames = [igmp("224.0.0.22", join_report("239.5.50.1"), source=(f"02:c0:ff:ee:50:{n:02x}", f"10.77.50.{n}")) for n in range(1, 51)]
        transmit(pair, pair.host(1, 2), frames)
        wait_for("51 members", lambda: len(members(near, "239.5.50.1")) == 51)
        assert near.show("groups")["facts"] == told + 1
        assert wait_wish(pair.gateways[2], "s1", "239.5.50.1")


def test_link_local_groups_go_everywhere(pair):
    """224.0.0.0/24 and ff02::1, unasked."""
    for address in ("224.0.0.251", "ff02::1"):
        with Feed(pair, 1, address, every=0.01, hops=1), Watch(pair, 2) as watch:
            watch.first(address)


# Who gets what

def wan_traffic(sniffer, seconds):
    """Octets of UDP towards a site's gateway, and the longest datagram, in so many seconds."""
    frames = sniffer.frames(seconds, wanted=lambda data: data[12:14] == b"\x08\x00" and data[23] == 17)
    return sum(map(len, frames)), max(map(len, frames), default=0)


def test_a_feed_goes_to_the_interested_site_only(three):
    """Counted on the underlay: towards the third site there is what there was before, keepalives, and none as long as a frame of the feed."""
    address, seconds = "239.2.1.1", 2.0
    towards = {site: Sniffer(three, three.gw(site), "wan0", outgoing=False) for site in (2, 3)}
    with towards[2] as to_two, towards[3] as to_three:
        idle, longest_idle = wan_traffic(to_three, seconds)
        with Member(three, 2, address):
            wait_wish(three.gateways[1], "s2", address)
            wait_wish(three.gateways[3], "s2", address)
            with Feed(three, 1, address, size=1000, every=0.002) as feed:
                wan_traffic(to_three, 0.2)      # what is waiting; and the telling of the join is over
                busy, longest = wan_traffic(to_three, seconds)
            assert wan_traffic(to_two, 0.2)[0] > feed.sent * 1000
            sites = {one["site"]: one["frames"] for one in three.gateways[1].group(address)["sites"]}
    assert feed.sent > 300
    assert longest <= max(longest_idle, 200), f"a datagram of {longest} octets went to a site that wants nothing"
    assert busy <= 1.5 * idle + 500, f"{busy} octets, against {idle} in silence"
    assert sites.get("s2", 0) >= feed.sent and not sites.get("s3"), sites


def test_join_to_first_frame_and_leave_to_last(three):
    """Ten times: half of the joins bring the feed in 50 ms and a round trip; each leave ends it in K10 and a round trip."""
    joins, leaves = [], []
    with Watch(three, 2) as watch:
        for n in range(10):
            address = f"239.2.2.{n + 1}"
            with Feed(three, 1, address, every=0.002):
                time.sleep(0.05)
                with Member(three, 2, address) as member:
                    joins.append(watch.first(address)[0] - member.joined)
                    leaves.append(leaves_in_time(member, watch, address, bound=K10 + 0.25, watched=0.1))
    print(f"join to first frame: {', '.join(f'{1000 * s:.1f}' for s in joins)} ms; "
          f"leave to last: {', '.join(f'{1000 * s:.1f}' for s in leaves)} ms")
    assert statistics.median(joins) < 0.05, joins
    assert max(joins) < 0.5, joins


# VLANs, made by hand: the members are where the tags are

def test_a_join_on_one_vlan_brings_no_other(pair):
    address, sender = "239.6.1.1", ("02:c0:ff:ee:01:01", "10.77.0.1")
    transmit(pair, pair.host(2), [igmp("224.0.0.22", join_report(address), vlan=10)])
    near, far = pair.gateways.values()
    wait_wish(near, "s2", address, vlan="10")
    assert not near.wish("s2", address) and not near.wish("s2", address, vlan="20")
    frames = [datagram(address, n, sender, vlan=vlan) for n, vlan in enumerate((10, 20, None) * 20)]
    with Watch(pair, 2) as watch:
        transmit(pair, pair.host(1), frames)
        seen = watch.frames(1.0, count=20, wanted=lambda data: goes_to(data, address))
    assert [feed_number(data) for data in seen] == list(range(0, 60, 3))
    assert all(data[12:16] == b"\x81\x00\x00\x0a" for data in seen)
    assert list(members(far, address, vlan="10")) == ["10.77.9.9"]
    wait_no_wish(near, "s2", address, vlan="10", seconds=K4 + 2)        # nobody answers there: it times out


# Bad input

def test_bad_input_is_counted_and_goes_nowhere(pair):
    address = "239.8.1.1"
    good = join_report(address)
    bad = {
        "bad-checksum": igmp("224.0.0.22", good[:2] + b"\x12\x34" + good[4:], fix=False),
        "bad-length": igmp("224.0.0.22", good[:12]),                        # a record that is not all there
        "query-length": igmp("224.0.0.1", b"\x11\x64\0\0" + bytes(5)),       # between version 2 and 3
        "unknown-record": igmp("224.0.0.22", join_report(address, kind=99)),
        "not-a-group": igmp("224.0.0.22", join_report("10.1.1.1")),
        "misaddressed-query": igmp("224.0.0.5", b"\x11\x64\0\0" + bytes(4)),
        "zero-query": igmp("224.0.0.1", b"\x11\x64\0\0" + bytes(4), source=("02:c0:ff:ee:77:01", "0.0.0.0")),
        "exclude-in-ssm": igmp("224.0.0.22", join_report("232.8.1.1")),
    }
    fragment = bytearray(igmp("224.0.0.22", good))
    fragment[20:22] = b"\x20\x00"                                           # more fragments follow
    fragment[24:26] = b"\0\0"
    header = sum(int.from_bytes(fragment[n:n + 2], "big") for n in range(14, 38, 2))
    fragment[24:26] = (0xFFFF - (header % 0xFFFF)).to_bytes(2, "big")
    bad["fragment"] = bytes(fragment)
    near, far = pair.gateways.values()
    before = rules(far)
    with Watch(pair, 1) as other:
        transmit(pair, pair.host(2), list(bad.values()) * 5, burst=9, pause=0.02)
        wait_for("each is counted under its name", seconds=3, condition=lambda: all(
            rules(far)[name] - before[name] >= 5 for name in bad))
        own = gateway_mac(pair, 1)
        crossed = [data for data in other.frames(0.2, wanted=is_membership) if data[6:12] != own and data[6:12].hex() == "02c0ffee7701"]
    assert not crossed, crossed[0].hex()
    assert not near.wish("s2", address) and not far.group(address) and not far.group("232.8.1.1")


def test_noise_in_igmp_does_no_harm(pair):
    """Cut, lengthened and flipped messages; the gateway still answers and a join still works."""
    import random
    rng = random.Random(11)
    frames = []
    for _ in range(2000):
        data = bytearray(igmp("224.0.0.22", join_report("239.8.2.1", rng.randrange(8), ["10.1.1.1"] * rng.randrange(4)), fix=rng.random() < 0.9))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(14, len(data))] ^= 1 << rng.randrange(8)
        frames.append(bytes(data[:rng.randrange(34, len(data) + 1)]).ljust(60, b"\0"))
    transmit(pair, pair.host(2), frames)
    with Feed(pair, 1, "239.8.3.1"), Watch(pair, 2) as watch, Member(pair, 2, "239.8.3.1"):
        watch.first("239.8.3.1")
    assert all(gateway.alive() and gateway.show("rules") for gateway in pair.gateways.values())


# causeway why

def why(gateway, *argv, code=0):
    done = run(BINARY, "why", *argv, "--socket", gateway.control, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_why(pair):
    near, far = pair.gateways.values()
    with Member(pair, 2, "239.9.1.1"), Member(pair, 2, "232.9.1.1", source="10.77.0.1"):
        wait_wish(near, "s2", "239.9.1.1")
        wait_wish(near, "s2", "232.9.1.1")
        for argv, verdict, rule in (
                (["239.9.1.1", "--to", "s2"], True, 37), (["239.9.1.1,192.0.2.5", "--to", "s2"], True, 37),
                (["239.9.1.2", "--to", "s2"], False, 37), (["239.9.1.1", "--vlan", "10", "--to", "s2"], False, 37),
                (["232.9.1.1,10.77.0.1", "--to", "s2"], True, 37), (["232.9.1.1,10.77.0.9", "--to", "s2"], False, 37),
                (["224.0.0.5", "--to", "s2"], True, 11), (["ff02::1", "--to", "s2"], True, 11), (["ff01::5", "--to", "s2"], False, 15)):
            text = why(near, *argv)
            assert f"(rule {rule})" in text and ("does not go to s2" not in text) == verdict, text
            answer = json.loads(why(near, *argv, "--json"))
            assert (answer["is_forwarded"], answer["rule"], answer["to"]) == (verdict, rule, "s2"), answer
        assert "a member wants it" in why(far, "239.9.1.1", "--to", "s2") and pair.host_ip(2) in why(far, "239.9.1.1", "--to", "s2")
    assert "there is no site tokyo" in why(near, "239.9.1.1", "--to", "tokyo", code=1)
    for argv in (["239.9.1", "--to", "s2"], ["10.1.1.1", "--to", "s2"], ["239.9.1.1,239.1.1.1", "--to", "s2"], ["239.9.1.1"],
                 ["239.9.1.1", "--vlan", "4095", "--to", "s2"]):
        assert "rror" in why(near, *argv, code=2)

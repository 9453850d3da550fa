"""A mesh whose members come, go and disagree: without the one all came in by, parted and whole again, revoked, and in conflict."""
import itertools
import re
import time

from groups import FAST, Feed, Member, Watch, goes_to, wait_no_wish, wait_wish
from lab import BINARY, run, wait_for
from passes import Authority, add_member, cut_to, passes, wait_mesh
from wan import HOP_LIMIT, hops, is_routed, sealed
from wire import Sniffer, frame, transmit

GROUP = "239.192.45.1"


def start(gateways):
    for gateway in gateways:
        gateway.start()


def test_five_sites_go_on_without_the_first_and_take_a_sixth(make_lab):
    """The gateway that four came in by is gone for good; they restart, and a new one comes in by one of them."""
    lab = make_lab(sites=6)
    authority = Authority(lab)
    gateways = [add_member(lab, authority, site, [] if site == 1 else [1]) for site in range(1, 6)]
    start(gateways)
    wait_mesh(gateways)
    gateways[0].kill()
    others = gateways[1:]
    for gateway in others:
        assert gateway.stop() == 0
    start(others)
    wait_mesh(others)
    sixth = add_member(lab, authority, 6, [4])
    sixth.start()
    wait_mesh([*others, sixth])
    for a, b in itertools.permutations(range(2, 7), 2):
        lab.assert_ping(a, b, count=1)


def test_a_mesh_parted_in_two_and_three_heals(make_lab):
    """Hosts join on both sides of the cut; once it is healed everybody knows everything within 15 s, and the feeds cross."""
    lab = make_lab(sites=5)
    passes(lab, settings=FAST)
    left, right = (1, 2), (3, 4, 5)
    groups = {site: f"239.192.45.{site}" for site in lab.sites}
    parted = list(itertools.product(left, right))
    lab.cut(*parted)
    for a, b in [*parted, *((b, a) for a, b in parted)]:
        wait_for(f"s{a} without s{b}", lambda: lab.gateways[a].peers()[f"s{b}"] not in ("up", "suspect"), 10)
    members = [Member(lab, site, groups[site]) for site in lab.sites]
    for side in (left, right):
        for a, b in itertools.permutations(side, 2):
            wait_wish(lab.gateways[a], f"s{b}", groups[b])
    assert lab.gateways[1].wish("s4", groups[4]) is None and lab.gateways[4].wish("s1", groups[1]) is None
    # One of either side leaves again before they meet.
    members.pop(1).leave()
    lab.heal()
    healed = time.monotonic()

    def wait_known(a, b):
        left = 15 - (time.monotonic() - healed)
        wait_wish(lab.gateways[a], f"s{b}", groups[b], seconds=max(left, 0.1))

    pairs = [(a, b) for a, b in itertools.permutations(lab.sites, 2) if b != 2]
    for a, b in pairs:
        wait_known(a, b)
    print(f"all wishes are known {time.monotonic() - healed:.1f} s after the healing")
    for gateway in lab.gateways.values():
        wait_no_wish(gateway, "s2", groups[2], seconds=5)
    for a, b in ((1, 3), (2, 4), (3, 1), (5, 1), (4, 5)):
        with Watch(lab, b) as watch, Feed(lab, a, groups[b]):
            assert len(watch.arrivals(groups[b], seconds=3, count=50)) >= 50, f"the feed of {groups[b]} from site {a} to {b}"
    for member in members:
        with member:
            pass


def feed_of(site):
    return f"239.192.46.{site}"


def test_a_revoked_site_with_feeds_running_is_silent_within_two_seconds(make_lab):
    """One feed comes from it, one goes to it, and one between the others goes on."""
    lab = make_lab(sites=3)
    authority = passes(lab)
    joins = [(1, 2), (3, 2), (2, 1), (3, 1)]            # (the member's site, the sender's)
    members = [Member(lab, site, feed_of(sender)) for site, sender in joins]
    for site, sender in joins:
        wait_wish(lab.gateways[sender], f"s{site}", feed_of(sender), seconds=10)
    with Feed(lab, 1, feed_of(1)), Feed(lab, 2, feed_of(2)):
        watches = {site: Watch(lab, site) for site in lab.sites}
        for site, sender in joins:
            watches[site].first(feed_of(sender))
        with Sniffer(lab, lab.wan, "w2") as wan:
            out = run(BINARY, "mesh", "announce", authority.revoke(lab.gateways[2]), "--socket", lab.gateways[3].control)
            announced = time.time()
            assert out.stdout == "announced\n"
            time.sleep(3)
            stamped = {site: watch.stamped(seconds=0.2) for site, watch in watches.items()}
            towards = [when for when, data in wan.stamped(seconds=0.2) if
                       any(one.to == 2 and len(one.octets) > 200 for one in sealed([data]))]
        for site, sender in ((1, 2), (3, 2), (2, 1)):
            last = max((when for when, data in stamped[site] if goes_to(data, feed_of(sender))), default=announced)
            print(f"the last of s{sender}'s feed at s{site}: {(last - announced) * 1000:.0f} ms")
            assert last - announced < 2, f"the feed of s{sender} still came to s{site} after {last - announced:.1f} s"
        assert max(towards, default=announced) - announced < 2
        later = [when for when, data in stamped[3] if goes_to(data, feed_of(1))]
        assert max(later) - announced > 2.5, "the feed between the others has ended too"
    for thing in [*members, *watches.values()]:
        with thing:
            pass


def is_carried(one, carrier):
    """Is it a stream's that goes through this site, on its way there or from there on?"""
    return is_routed(one.octets) and (one.to == carrier or hops(one.octets) < HOP_LIMIT)


def test_a_revoked_carrier_carries_no_more(make_lab):
    """Sites 1 and 3 reach each other through 2 or 4; whoever carries is revoked, and the other carries."""
    lab = make_lab(sites=4)
    cut_to(lab, [(1, 2), (2, 3), (1, 4), (4, 3), (2, 4)])
    authority = passes(lab, seeds=lambda site: [] if site == 1 else [1] if site != 3 else [2, 4], options=["--relay"], start=False)
    start(lab.gateways.values())
    wait_mesh(lab.gateways.values(), 30)
    with Member(lab, 3, GROUP), Watch(lab, 3) as watch, Feed(lab, 1, GROUP):
        wait_wish(lab.gateways[1], "s3", GROUP, seconds=10)
        watch.first(GROUP)
        carrier = int(re.findall(r"peer s3 is reached through s(\d)\n", lab.gateways[1].log())[-1])
        other = 6 - carrier
        with Sniffer(lab, lab.gw(carrier), "wan0") as wan:
            assert [one for one in sealed(wan.frames(seconds=0.5)) if is_carried(one, carrier)], "it does not carry"
        with Sniffer(lab, lab.gw(carrier), "wan0") as wan:
            run(BINARY, "mesh", "announce", authority.revoke(lab.gateways[carrier]), "--socket", lab.gateways[1].control)
            announced = time.time()
            arrivals = watch.arrivals(GROUP, 4)
            # It does not know, and goes on telling the others what they do not hear.
            carried = [when for when, data in wan.stamped(seconds=0.2) if any(is_carried(one, carrier) for one in sealed([data]))]
        assert max(carried, default=announced) < announced + 2, "it goes on carrying"
        assert arrivals[-1][0] - announced > 3, "nobody carries"
        silence = max(later - earlier for (earlier, _), (later, _) in itertools.pairwise(arrivals))
        last = max(carried, default=announced)
        print(f"the carrier is revoked: {silence * 1000:.0f} ms of silence, it carried for {(last - announced) * 1000:.0f} ms")
        assert silence < 3
    assert f"peer s3 is reached through s{other}" in lab.gateways[1].log()


def test_one_name_in_two_passes_and_one_mac_at_two_sites(make_lab):
    """What members disagree about is the operator's to see; no link between gateways goes down for it."""
    lab = make_lab(sites=4)
    authority = Authority(lab)
    gateways = [add_member(lab, authority, site, [] if site == 1 else [1]) for site in lab.sites]
    # Site 3's pass has the name of site 2's.
    authority.admit(gateways[2], site="s2")
    gateways[2].settings["site"] = "s2"
    start(gateways)

    def all_up(gateway):
        states = gateway.peers()
        return gateway.alive() and len(states) == 3 and set(states.values()) == {"up"}

    for gateway in gateways:
        wait_for(f"three peers of {gateway.name}", lambda: all_up(gateway), 15)
    names = set(gateways[0].peers())
    assert "s2" in names and "s4" in names and any(re.fullmatch(r"s2-[0-9a-f]+", name) for name in names), names
    for a, b in itertools.permutations(lab.sites, 2):
        lab.assert_ping(a, b, count=1)
    # The hosts of sites 2 and 3 speak with one address, in turn.
    mac = "02:00:5e:77:77:77"
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        for site in (2, 3):
            transmit(lab, lab.host(site), [frame("ff:ff:ff:ff:ff:ff", mac, payload=bytes([site]) * 40) for _ in range(20)])
        lab.assert_ping(1, 4, count=2, interval=0.05)
    for gateway in gateways:
        assert all_up(gateway), gateway.peers()
        assert not re.search(r"is (down|suspect)", gateway.log()), gateway.log()
    for a, b in itertools.permutations(lab.sites, 2):
        lab.assert_ping(a, b, count=1)


def columns(table):
    """The rows of a table, each {title: cell}; the second line's dashes show where the columns are."""
    titles, dashes, *rows = table.splitlines()
    spans = [match.span() for match in re.finditer("-+", dashes)]
    return [{titles[a:b].strip(): row[a:b].strip() for a, b in spans} for row in rows]


def test_the_table_of_peers_says_what_its_json_says(make_lab):
    """The columns of `show peers` for a member, one that is gone and one that never was up, against the document."""
    lab = make_lab(sites=4)
    cut_to(lab, [(1, 2), (1, 3), (1, 4), (2, 3)])
    authority = Authority(lab)
    gateways = [add_member(lab, authority, site, [] if site == 1 else [1]) for site in lab.sites]
    start(gateways)
    wait_mesh(gateways[:3])
    wait_mesh([gateways[0], gateways[3]])
    gateways[2].kill()
    near = gateways[1]
    wait_for("s3 is gone and s4 was heard of", lambda: (peers := near.peers()).get("s3") == "connecting" and "s4" in peers, 10)
    text = run(BINARY, "show", "peers", "--socket", near.control).stdout
    document = near.show("peers")["peers"]
    table, paths = map(columns, text.split("\n\n"))
    rows = {row["peer"]: row for row in table}
    assert set(rows) == {one["name"] for one in document} == {"s1", "s3", "s4"}
    for one in document:
        row = rows[one["name"]]
        assert row["state"] == one["state"]
        assert row["endpoint"] == one.get("endpoint", "-")
        assert row["cipher"] == one.get("cipher", "-") and row["keys"] == one.get("key_exchange", "-")
        assert (row["heard"] == "never") == ("last_heard_age" not in one)
        if one["state"] != "up":            # what it sent and got does not change any more
            assert (int(row["frames in"]), int(row["datagrams in"])) == (one["frames_in"], one["datagrams_in"])
            assert int(row["lost"]) == one["datagrams_lost"]
    assert {row["path to"]: int(row["mtu"]) for row in paths} == {one["name"]: one["path"]["mtu"] for one in document if "path" in one}

"""Group streams on the wire: one seal for all who get a feed, and nothing where nobody wants it."""
import collections
import time

from groups import FAST, Feed, Member, Watch, wait_wish
from lab import wait_for
from passes import passes
from wan import is_routed, sealed
from wire import Sniffer

GROUP = "239.192.47.1"
SIZE = 400


def test_four_receivers_are_sent_identical_octets_and_nobody_is_sent_nothing(make_lab):
    lab = make_lab(sites=5, offloads=False)
    passes(lab, settings=FAST)
    near = lab.gateways[1]
    with Sniffer(lab, lab.gw(1), "wan0") as wan, Feed(lab, 1, GROUP, size=SIZE) as feed:
        seen = sealed(wan.frames(seconds=2))
        assert feed.sent > 100
    long = [one for one in seen if one.source == 1 and len(one.octets) > SIZE]
    assert not long, f"{len(long)} datagrams leave for nobody"
    others = [2, 3, 4, 5]
    members = [Member(lab, site, GROUP) for site in others]
    for site in others:
        wait_wish(near, f"s{site}", GROUP)
    audience = {f"s{site}" for site in others}
    with Feed(lab, 1, GROUP, size=SIZE), Watch(lab, 5) as watch:
        wait_for("a stream of all four in use", lambda: any(
            set(one["audience"]) == audience and one["state"] == "in-use" for one in near.show("streams")["sealed"]), 15)
        time.sleep(0.5)
        watch.arrivals(GROUP, 0.05)
        with Sniffer(lab, lab.gw(1), "wan0") as wan:
            seen = [one for one in sealed(wan.frames(seconds=2)) if one.source == 1 and len(one.octets) > SIZE]
        assert len(watch.arrivals(GROUP, 0.2)) > 100
    reached = collections.defaultdict(list)
    for one in seen:
        assert is_routed(one.octets), "sealed for one site alone"
        reached[one.octets].append(one.to)
    assert len(reached) > 100
    incomplete = [sites for sites in reached.values() if sorted(sites) != others]
    # The first and the last may be cut through by the sniffer.
    assert len(incomplete) <= 2, f"{len(incomplete)} of {len(reached)} datagrams did not go to all four as they are: {incomplete[:5]}"
    for member in members:
        with member:
            pass

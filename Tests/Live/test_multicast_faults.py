"""What is wanted outlives a gateway's death, and nothing is wanted for long by hosts that are gone."""
import os
import subprocess
import sys
import time

import pytest

from groups import FAST, K4, MARGIN, Feed, Member, Watch, members, wait_no_wish, wait_wish
from lab import ROOT

ADDRESS = "239.11.1.1"


@pytest.mark.parametrize("killed", [2, 1], ids=["the-receivers", "the-senders"])
def test_a_gateway_is_killed_and_restarted(make_lab, killed):
    """The other side drops what it was told when the peer is down; interest and feed are back soon after the restart."""
    lab = make_lab(sites=3)
    lab.mesh(settings=FAST)
    time.sleep(1)
    near, far = lab.gateways[1], lab.gateways[2]
    with Member(lab, 2, ADDRESS), Feed(lab, 1, ADDRESS), Watch(lab, 2) as watch:
        watch.first(ADDRESS)
        wait_wish(lab.gateways[3], "s2", ADDRESS)
        lab.gateways[killed].kill()
        if killed == 2:
            for other in (near, lab.gateways[3]):
                wait_no_wish(other, "s2", ADDRESS, seconds=5)
        else:
            time.sleep(1)
        watch.arrivals(ADDRESS, 0.1)
        lab.gateways[killed].start()
        restarted = time.time()
        back = watch.first(ADDRESS, seconds=8)[0] - restarted
        assert back < 5, f"{back:.1f} s without the feed after the restart"
        wait_wish(near, "s2", ADDRESS)
        wait_wish(lab.gateways[3], "s2", ADDRESS)
        assert members(far, ADDRESS)


def test_a_receiver_dies_without_a_word(make_lab):
    """Its cable goes, so nothing it says arrives: its membership times out after K4, and the feed with it."""
    lab = make_lab(hosts=2)
    near, far = lab.mesh(settings=FAST)
    time.sleep(1)
    receiver = lab.popen(lab.host(2), sys.executable, os.path.join(ROOT, "tools", "mcast"), "recv", ADDRESS, "26400", "1000000", "--interface",
                         lab.host_ip(2), "--wait", "60", stdout=subprocess.DEVNULL)
    with Feed(lab, 1, ADDRESS), Watch(lab, namespace=lab.namespace("l2"), device="up0") as uplink:
        uplink.first(ADDRESS, seconds=5)
        assert list(members(far, ADDRESS)) == [lab.host_ip(2)]
        lab.ip(lab.namespace("l2"), "link", "set", "p1", "down")
        cut = time.time()
        receiver.kill()
        receiver.wait(5)
        wait_no_wish(near, "s2", ADDRESS, seconds=K4 + 1)
        gone = time.time()
        last = max(when for when, _ in uplink.arrivals(ADDRESS, 0.5))
        assert last < cut + K4 + MARGIN, f"{last - cut:.1f} s after the cable was cut"
        assert last > cut + 1 and gone > cut + 1, "a membership that did not wait for the answer to a query"
        assert not members(far, ADDRESS) and not far.group(ADDRESS).get("wish")


def test_the_lan_goes_down_and_comes_back(make_lab):
    """A LAN device that lost its carrier has no members any more; when it is back the hosts are asked at once."""
    lab = make_lab()
    near, far = lab.mesh(settings={**FAST, "igmp.query-interval": "30s", "igmp.query-response-interval": "500ms"})
    time.sleep(1)
    with Member(lab, 2, ADDRESS), Feed(lab, 1, ADDRESS):
        wait_wish(near, "s2", ADDRESS)
        lab.ip(lab.host(2), "link", "set", "eth0", "down")
        wait_no_wish(near, "s2", ADDRESS)
        lab.ip(lab.host(2), "link", "set", "eth0", "up")
        with Watch(lab, 2) as watch:
            watch.first(ADDRESS, seconds=5)
        wait_wish(near, "s2", ADDRESS)

"""What passes allow, applied: denied feeds do not leave, the operator is told why, and the audit file has it."""
import json
import os
import re

import pytest

from groups import FAST, Feed, Member, Watch, wait_wish
from lab import BINARY, run, wait_for
from passes import Authority, add_member, wait_mesh
from wan import sealed
from wire import Sniffer

DENIED, ALLOWED = "239.1.2.3", "239.2.2.3"


def why(gateway, *argv):
    return run(BINARY, "why", *argv, "--socket", gateway.control).stdout


@pytest.fixture(params=["root", "confined"])
def three(request, make_lab):
    """Site 3 may receive 239.2.0.0/16 and nothing else; all gateways write an audit file."""
    lab = make_lab(sites=3)
    authority = Authority(lab)
    for site in lab.sites:
        options = ["--receive", "239.2.0.0/16"] if site == 3 else []
        gateway = add_member(lab, authority, site, [] if site == 1 else [1], *options, settings={**FAST, "audit.file": "audit"})
        if request.param == "confined":
            for path in (lab.directory, gateway.directory):
                os.chmod(path, 0o755)
            gateway.control = gateway.path("run/control.sock")
            gateway.settings.update({"control.socket": gateway.control, "user": "nobody", "sandbox": "on"})
        gateway.start()
    wait_mesh(lab.gateways.values())
    return lab


def audit(gateway):
    with open(gateway.path("audit")) as file:
        return file.read()


def octets_towards(lab, site, seconds):
    """What site 1's gateway sends to another's in so many seconds, in long datagrams."""
    with Sniffer(lab, lab.gw(1), "wan0") as wan:
        return sum(len(one.octets) for one in sealed(wan.frames(seconds)) if (one.source, one.to) == (1, site) and len(one.octets) > 200)


def test_a_feed_that_a_site_may_not_receive_does_not_leave_towards_it(three):
    lab = three
    near = lab.gateways[1]
    with Member(lab, 2, DENIED), Member(lab, 3, DENIED), Watch(lab, 2) as second, Watch(lab, 3) as third:
        wait_wish(near, "s2", DENIED)
        wait_wish(near, "s3", DENIED)
        with Feed(lab, 1, DENIED, size=400):
            assert len(second.arrivals(DENIED, seconds=3, count=100)) >= 100
            assert octets_towards(lab, 2, 1.0) > 20_000, "the feed does not cross to who may have it"
            assert octets_towards(lab, 3, 1.0) == 0
        assert third.arrivals(DENIED, seconds=0.3) == []
        answer = json.loads(why(near, DENIED, "--to", "s3", "--json"))
        assert (answer["is_forwarded"], answer["rule"]) == (False, 44)
        assert f"site s3 may not receive {DENIED}" in why(near, DENIED, "--to", "s3")
        assert json.loads(why(near, DENIED, "--to", "s2", "--json"))["is_forwarded"] is True
        line = wait_for("a line of the audit", lambda: re.search(rf".*denied kind=wish direction=out site=s3 .*group={DENIED} .*", audit(near)))
        assert "239.2.0.0/16" in line.group(0)
    assert "site=s2" not in audit(near)


def test_what_the_site_may_receive_crosses(three):
    lab = three
    with Member(lab, 3, ALLOWED), Watch(lab, 3) as third:
        wait_wish(lab.gateways[1], "s3", ALLOWED)
        with Feed(lab, 1, ALLOWED, size=400):
            assert len(third.arrivals(ALLOWED, seconds=3, count=100)) >= 100
            assert octets_towards(lab, 3, 1.0) > 20_000
        assert json.loads(why(lab.gateways[1], ALLOWED, "--to", "s3", "--json"))["is_forwarded"] is True
    assert audit(lab.gateways[1]) == ""

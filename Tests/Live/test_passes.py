"""Members of a mesh find each other with a pass and one address, keep each other, and lose who is revoked."""
import base64
import itertools
import time

from groups import FAST, K4, K10, Feed, Member, Watch, wait_no_wish, wait_wish
from lab import BINARY, Gateway, run, wait_for
from passes import Authority, add_member, passes, wait_mesh


def test_five_sites_find_each_other_through_one(make_lab):
    lab = make_lab(sites=5)
    passes(lab)
    for a, b in itertools.permutations(lab.sites, 2):
        lab.assert_ping(a, b, count=1)


def test_a_site_is_added_and_no_other_file_changes(make_lab):
    """The third knows only the second, which itself knew only the first."""
    lab = make_lab(sites=3)
    authority = Authority(lab)
    first = add_member(lab, authority, 1, [])
    second = add_member(lab, authority, 2, [1])
    first.start()
    second.start()
    wait_mesh([first, second])
    third = add_member(lab, authority, 3, [2])
    third.start()
    wait_mesh([first, second, third])
    lab.assert_ping(1, 3)
    assert "s3 is a member of the mesh" in first.log()


def test_the_gateway_that_all_came_in_by_may_be_gone_for_good(make_lab):
    lab = make_lab(sites=3)
    passes(lab)
    lab.gateways[1].kill()
    others = [lab.gateways[2], lab.gateways[3]]
    for gateway in others:
        assert gateway.stop() == 0
    for gateway in others:
        gateway.start()
    wait_mesh(others)
    lab.assert_ping(2, 3)


def test_a_revoked_site_is_cut_off_within_two_seconds(make_lab):
    """The revocation is handed to a third gateway while pings cross between the other two."""
    lab = make_lab(sites=3)
    authority = passes(lab)
    lab.assert_ping(1, 2)
    out = run(BINARY, "mesh", "announce", authority.revoke(lab.gateways[2]), "--socket", lab.gateways[3].control)
    began = time.monotonic()
    assert out.stdout == "announced\n"
    for site in (1, 3):
        wait_for(f"s{site} without s2", lambda: "s2" not in lab.gateways[site].peers(), 2.0, every=0.02)
    assert time.monotonic() - began < 2.0
    lab.assert_no_ping(1, 2)
    lab.assert_no_ping(2, 3)
    lab.assert_ping(1, 3)
    assert "s2 is no member of the mesh any longer: its pass: it was revoked" in lab.gateways[1].log()
    # It is final: a restart brings nobody back.
    lab.gateways[2].stop()
    lab.gateways[2].start()
    time.sleep(3)
    assert "s2" not in lab.gateways[1].peers() and "s2" not in lab.gateways[3].peers()


def test_foreign_forged_and_expired_passes_are_refused_each_in_its_own_words(make_lab):
    lab = make_lab(sites=2)
    authority = Authority(lab)
    first = add_member(lab, authority, 1, [])
    first.start()
    stranger = add_member(lab, Authority(lab, "another"), 2, [1])
    stranger.start()
    wait_for("a refusal", lambda: "refused a hello from 10.200.0.2:7117: it is of another mesh" in first.log())
    stranger.stop()
    assert first.peers() == {}

    authority.admit(stranger)
    with open(stranger.path("site.pass")) as file:
        text = file.read()
    lines = text.splitlines()
    octets = bytearray(base64.b64decode(lines[1]))
    octets[40] ^= 1
    with open(stranger.path("site.pass"), "w") as file:
        file.write("\n".join([lines[0], base64.b64encode(octets).decode()]) + "\n")
    stranger.write()
    done = run(BINARY, "check", stranger.config, check=False)
    assert done.returncode == 1 and "pass.file" not in done.stdout and "its signature is not the authority's" in done.stderr

    authority.admit(stranger)
    stranger.start()
    wait_mesh([first, stranger])


def test_a_pass_for_another_gateway_is_found_by_check(make_lab):
    lab = make_lab(sites=2)
    authority = Authority(lab)
    first, second = add_member(lab, authority, 1, []), add_member(lab, authority, 2, [1])
    second.key = first.key
    authority.admit(second)
    second.write()
    done = run(BINARY, "check", second.config, check=False)
    assert done.returncode == 1 and "the pass is for another gateway" in done.stderr


def test_plain_keys_go_on_working_beside_passes(make_lab):
    """Site 3 has no pass: the first names it with its key."""
    lab = make_lab(sites=3)
    authority = Authority(lab)
    first, second = add_member(lab, authority, 1, []), add_member(lab, authority, 2, [1])
    third = lab.gateways[3] = Gateway(lab, 3)
    first.add_peer(third)
    third.add_peer(first)
    for gateway in (first, second, third):
        gateway.start()
    wait_mesh([first, second])
    wait_mesh([first, third])
    lab.assert_ping(1, 3)
    lab.assert_ping(1, 2)


def test_a_feed_goes_to_members_that_asked_alone(make_lab):
    """What a site's hosts want comes to the others by gossip."""
    lab = make_lab(sites=3)
    passes(lab, settings=FAST)
    with Member(lab, 2, "239.1.1.1"), Watch(lab, 2) as wanted, Watch(lab, 3) as other:
        wait_wish(lab.gateways[1], "s2", "239.1.1.1")
        with Feed(lab, 1, "239.1.1.1"):
            assert len(wanted.arrivals("239.1.1.1", seconds=3, count=50)) >= 50
        assert other.arrivals("239.1.1.1", seconds=0.3) == []
        assert lab.gateways[1].wish("s3", "239.1.1.1") is None
    wait_no_wish(lab.gateways[1], "s2", "239.1.1.1", seconds=K4 + K10 + 3)

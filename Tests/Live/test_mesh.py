"""More than two sites, more than one host at a site."""
import itertools

from wire import BROADCAST, Sniffer, frame, mac_bytes, transmit


def test_three_sites_ping_each_other(make_lab):
    lab = make_lab(sites=3)
    lab.mesh()
    for a, b in itertools.permutations(lab.sites, 2):
        lab.assert_ping(a, b)


def test_a_broadcast_arrives_once_everywhere_and_never_comes_back(make_lab):
    """Two hosts at each of three sites, behind a switch of their own."""
    lab = make_lab(sites=3, hosts=2)
    lab.mesh()
    for address in (BROADCAST, "01:00:5e:7f:00:01", "02:12:34:56:78:9a"):
        sent = [frame(address, lab.host_mac(1), payload=bytes([n]) * 30) for n in range(50)]
        ours = mac_bytes(lab.host_mac(1))
        everyone = [(site, number) for site in lab.sites for number in (1, 2)]
        sniffers = {who: Sniffer(lab, lab.host(*who), outgoing=False) for who in everyone}
        transmit(lab, lab.host(1), sent)
        for who, sniffer in sniffers.items():
            expected = [] if who == (1, 1) else sent
            with sniffer:
                seen = sniffer.frames(seconds=3 if expected else 0.2, count=len(expected), wanted=lambda data: data[6:12] == ours)
            assert seen == expected, f"host {who} saw {len(seen)} of {len(expected)} frames to {address}"


def test_hosts_behind_switches_ping_without_duplicates(make_lab):
    lab = make_lab(sites=2, hosts=2)
    lab.mesh()
    for site, other, number in ((1, 2, 1), (1, 2, 2), (2, 1, 1), (2, 1, 2), (1, 1, 2)):
        lab.assert_ping(site, other, number=number)


def test_known_unicast_goes_to_one_site_only(make_lab):
    """Once site 2's host has spoken, frames to it do not go to site 3."""
    lab = make_lab(sites=3)
    lab.mesh()
    lab.assert_ping(1, 2)
    sent = [frame(lab.host_mac(2), lab.host_mac(1), payload=bytes([n]) * 30) for n in range(50)]
    ours = mac_bytes(lab.host_mac(1))
    with Sniffer(lab, lab.host(2), outgoing=False) as right, Sniffer(lab, lab.host(3), outgoing=False) as wrong:
        transmit(lab, lab.host(1), sent)
        assert right.frames(count=50, wanted=lambda data: data[6:12] == ours) == sent
        assert wrong.frames(seconds=0.2, wanted=lambda data: data[6:12] == ours) == []

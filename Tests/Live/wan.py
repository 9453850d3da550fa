"""What crosses the WAN between gateways, as a device there shows it, and what a feed lost on its way."""
import collections
import struct

from lab import PORT
from wire import udp_payload

SEALED, ROUTED, HOPS = 4, 0x80, 0x0F        # the kind of datagram, and of its flags: a stream that others may carry, how far yet
HOP_LIMIT = 7                               # the hop count that an origin begins with

Datagram = collections.namedtuple("Datagram", "source to octets")       # sites' numbers, and what is behind the UDP header


def datagram(data):
    """A gateway's datagram in a frame of an IPv4 underlay; None for anything else."""
    octets = udp_payload(data)
    if octets is None or data[12:14] != b"\x08\x00" or PORT not in struct.unpack_from("!HH", data, 14 + 4 * (data[14] & 15)):
        return None
    length = struct.unpack_from("!H", data, 14 + 4 * (data[14] & 15) + 4)[0] - 8
    return Datagram(data[29], data[33], octets[:length])


def sealed(frames):
    """The sealed datagrams among frames, in order."""
    return [one for one in map(datagram, frames) if one and one.octets[0] == SEALED]


def is_routed(octets):
    return octets[1] & ROUTED != 0


def hops(octets):
    return octets[1] & HOPS


def without_hops(octets):
    """What is authenticated: the datagram without the one field that carriers change."""
    return octets[:1] + bytes([octets[1] & ~HOPS]) + octets[2:]


def counted_loss(arrivals, every):
    """(seconds that are missing of a feed, the longest silence in seconds); a datagram that came twice is a failure.

    Those that changed places on the way, when a way changed, are no loss."""
    numbers = [number for _, number in arrivals]
    twice = [number for number, times in collections.Counter(numbers).items() if times > 1]
    assert not twice, f"{len(twice)} datagrams came twice, the first is number {twice[0]}"
    times = sorted(when for when, _ in arrivals)
    missing = max(numbers) - min(numbers) + 1 - len(numbers)
    return missing * every, max(later - earlier for earlier, later in zip(times, times[1:]))

// Sockets that are connected to one peer each, beside the one that hears everybody: bound to the same address, so that the other
// side sees no difference. The kernel then keeps the route to the peer with the socket instead of looking it up for each
// datagram, on the way out and on the way in; at low rates that is a tenth of what a datagram costs.
//
//     bound to *:7117                     from anyone: handshakes, a peer that has moved
//     bound to *:7117, connected to P     from P, and to P
//
// Between being bound and being connected such a socket may be given anybody's datagrams; they are taken from it all the same.

import Basics
import Buffers
import CLinux
import Glibc

/// A socket to and from one peer.
struct UDPPath: ~Copyable {
    let socket: OwnedDescriptor
    let endpoint: Endpoint
}

extension UDPSocket {
    /// The most paths that are worth their descriptors.
    public static let pathLimit = 64

    /// Paths that there may be.
    public var pathCount: Int { paths.count }

    /// Where a path leads; `nil` where there is none. Precondition: `path` is below the number that `init` was given.
    public func pathEndpoint(_ path: Int) -> Endpoint? {
        switch paths[path] {
        case .some(let open): open.endpoint
        case .none: nil
        }
    }

    /// Connects a path, which must be closed; its descriptor, or `nil` when that cannot be done: then all goes by the main socket.
    public mutating func openPath(_ path: Int, to endpoint: Endpoint) -> Int32? {
        guard isShared, paths[path] == nil, !isIPv4 || endpoint.ipv4 != nil else { return nil }
        let opened: OwnedDescriptor
        do throws(IOError) {
            if let spare = spares[path].take() {
                try UDPSocket.bind(spare, to: localEndpoint)
                opened = spare
            } else {
                // Without privileges its buffers are as large as the machine lets anyone's be (net.core.rmem_max).
                opened = try UDPSocket.open(bind: localEndpoint, receiveBuffer: 8 << 20, sendBuffer: 8 << 20, isShared: true)
            }
        } catch {
            return nil
        }
        if hasCoalescing { _ = cwl_udp_coalesce(opened.raw, 1) }
        var address = cwl_address()
        // SAFETY: the address is copied during the calls.
        let length = unsafe cwl_address_put(
            &address, isIPv4 ? 1 : 0, endpoint.high, endpoint.low, endpoint.port, endpoint.scope)
        guard unsafe cwl_udp_connect(opened.raw, &address, length) >= 0 else { return nil }
        let descriptor = opened.raw
        paths[path] = UDPPath(socket: opened, endpoint: endpoint)
        return descriptor
    }

    /// Takes up to `limit` messages that wait on a path, as `receive` does. 0 when it is closed.
    public mutating func receive(onPath path: Int, upTo limit: Int = receiveBatch) -> Int {
        guard let descriptor = descriptor(ofPath: path) else { return 0 }
        return receive(descriptor, upTo: limit)
    }

    /// Closes a path. What waits on it is lost: take it first.
    public mutating func closePath(_ path: Int) {
        closedDrops &+= newDrops(onPath: path)
        paths[path] = nil
        pathDrops[path] = 0
    }

    private func descriptor(ofPath path: Int) -> Int32? {
        switch paths[path] {
        case .some(let open): open.socket.raw
        case .none: nil
        }
    }

    /// What the kernel has dropped on a path since the last call.
    mutating func newDrops(onPath path: Int) -> UInt64 {
        guard let descriptor = descriptor(ofPath: path) else { return 0 }
        let result = cwl_udp_drops(descriptor)
        guard result >= 0 else { return 0 }
        let total = UInt32(truncatingIfNeeded: result)
        defer { pathDrops[path] = total }
        return UInt64(total &- pathDrops[path])
    }

    /// The descriptor of a path that leads to `destination`.
    func descriptor(ofPath path: Int, to destination: Endpoint) -> Int32? {
        guard path < paths.count, pathEndpoint(path) == destination else { return nil }
        return descriptor(ofPath: path)
    }
}

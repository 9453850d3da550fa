// The underlay's socket: datagrams between gateways, many to a system call. Linux cuts one large payload into equal
// datagrams on the way out (UDP_SEGMENT) and joins consecutive equal ones on the way in (UDP_GRO), which takes a core
// from 0.2 to 4.9 million datagrams a second. What the kernel offers is probed when the socket opens and taken back when
// a call proves otherwise.

import Basics
import Buffers
import CLinux
import Glibc

/// What became of the datagrams of one call. Each datagram is in one of the two counts.
public struct SendResult: Hashable, Sendable, BitwiseCopyable {
    public var datagramsSent = 0
    public var datagramsFailed = 0
    /// The errno of the last failure; 0 if there was none.
    public var lastError: Int32 = 0

    /// Whether the last failure was that the datagram is longer than what is sent in one piece.
    public var isTooLong: Bool { lastError == EMSGSIZE }

    public init() {}
}

/// A UDP socket that never blocks. Owned by one thread.
///
/// Lent memory: what `messageBytes` gives is the socket's own buffer. The caller may change it and has it until the next
/// `receive()`.
@safe
public struct UDPSocket: ~Copyable, @unchecked Sendable {
    /// Messages of one `receive()`.
    public static let receiveBatch = 16
    /// Time to live where it does not matter: the kernel's own default.
    public static let hops = 64
    /// Octets for one received message: the largest that UDP can carry fits.
    static let messageBytes = 65536
    /// Segments of one call that segments: what every kernel with UDP_SEGMENT accepts.
    static let segmentLimit = 64
    /// Octets of one call that segments: below 65535 less the headers of IPv6 and UDP.
    static let segmentedBytes = 65_000

    /// A message as it was received: one datagram, or several of `segmentSize` octets one after the other (the last may
    /// be shorter).
    public struct Message: Hashable, Sendable, BitwiseCopyable {
        public let source: Endpoint
        /// Octets in all.
        public let length: Int
        /// Octets of each datagram but the last; `length` when there is one.
        public let segmentSize: Int
        /// What the IP headers of all of them said: DSCP in the high six bits, ECN in the low two.
        public let octet: UInt8
    }

    /// Where the socket is bound, with the port that the kernel chose if 0 was asked for.
    public let localEndpoint: Endpoint
    /// Whether large payloads are handed to the kernel in one piece. Goes off when the kernel turns out not to do it.
    public internal(set) var hasSegmentation: Bool
    /// Whether the kernel has offered it.
    private let canSegment: Bool
    /// Whether the kernel may join datagrams that arrive.
    public private(set) var hasCoalescing: Bool

    let socket: OwnedDescriptor
    /// For each peer the socket of the path to it, if there is one: see UDPSocket+Paths.
    var paths: FixedArray<UDPPath?>
    /// The kernel's count of what it dropped on each, as last read.
    var pathDrops: FixedArray<UInt32>
    /// Of paths that have been closed, not yet part of what `drops` says.
    var closedDrops: UInt64 = 0
    /// Sockets for paths, with all their options but not bound: made while buffers of any size are allowed. Each is used once.
    var spares: FixedArray<OwnedDescriptor?>
    let isShared: Bool
    /// Whether addresses are IPv4 ones on this socket.
    let isIPv4: Bool
    let outgoing: ScatterList
    private let incoming: ScatterList
    private var buffer: OwnedBytes
    /// What is left of the time that sends may wait until the next `restorePatience()`.
    var patience = Patience(waits: UDPSocket.waits)
    private static let waits = 4
    /// Messages of the last `receive()`.
    private var held = 0
    /// Places of `incoming` that have been used since they were made vacant.
    private var used = UDPSocket.receiveBatch
    private var countedDrops: UInt64 = 0
    private var lastDrops: UInt32 = 0

    /// - Parameters:
    ///   - bind: an IPv4 endpoint, or an IPv6 one; the IPv6 wildcard takes datagrams of both families.
    ///   - receiveBuffer: octets of payload that may wait in the kernel, as far as the machine allows.
    ///   - sendBuffer: likewise, to be sent.
    ///   - segmentation, coalescing: false to do without.
    ///   - hops: time to live of what is sent. A kernel joins only datagrams that have the same left, so that sockets which send
    ///     from the same endpoint with different ones keep their datagrams apart.
    ///   - isShared: whether other sockets are bound to the same endpoint; see `steer` and `openPath`.
    ///   - paths: how many paths there may be; `isShared` has to be true where that is not 0.
    public init(
        bind endpoint: Endpoint, receiveBuffer: Int = 8 << 20, sendBuffer: Int = 8 << 20,
        segmentation: Bool = true, coalescing: Bool = true, hops: Int = UDPSocket.hops, isShared: Bool = false, paths: Int = 0
    ) throws(IOError) {
        let isIPv4 = endpoint.ipv4 != nil
        let socket = try UDPSocket.open(
            bind: endpoint, receiveBuffer: receiveBuffer, sendBuffer: sendBuffer, isShared: isShared)
        var address = cwl_address()
        // SAFETY: the address is written during the call.
        try check(unsafe cwl_udp_local(socket.raw, &address), "read the local address", endpoint.description)
        var spares: FixedArray<OwnedDescriptor?> = FixedArray(count: paths) { _ in nil }
        for path in 0..<paths {
            spares[path] = try UDPSocket.make(
                like: endpoint, receiveBuffer: receiveBuffer, sendBuffer: sendBuffer, isShared: isShared)
        }
        localEndpoint = Endpoint(address) ?? endpoint
        self.paths = FixedArray(count: paths) { _ in nil }
        pathDrops = FixedArray(count: paths) { _ in 0 }
        self.spares = spares
        self.isShared = isShared
        canSegment = segmentation && cwl_udp_can_segment(socket.raw) >= 0
        hasSegmentation = canSegment
        hasCoalescing = coalescing && cwl_udp_coalesce(socket.raw, 1) >= 0
        if hops != UDPSocket.hops { _ = cwl_udp_hops(socket.raw, isIPv4 ? 1 : 0, Int32(hops)) }
        self.isIPv4 = isIPv4
        self.socket = socket
        outgoing = ScatterList(count: UDPSocket.segmentLimit)
        incoming = ScatterList(count: UDPSocket.receiveBatch)
        buffer = OwnedBytes(count: UDPSocket.receiveBatch * UDPSocket.messageBytes, alignment: 4096)
    }

    /// A socket with the options of all of them, bound to the endpoint.
    static func open(
        bind endpoint: Endpoint, receiveBuffer: Int, sendBuffer: Int, isShared: Bool
    ) throws(IOError) -> OwnedDescriptor {
        let socket = try make(like: endpoint, receiveBuffer: receiveBuffer, sendBuffer: sendBuffer, isShared: isShared)
        try bind(socket, to: endpoint)
        return socket
    }

    /// The same, not bound.
    private static func make(
        like endpoint: Endpoint, receiveBuffer: Int, sendBuffer: Int, isShared: Bool
    ) throws(IOError) -> OwnedDescriptor {
        let name = endpoint.description
        let isIPv4 = endpoint.ipv4 != nil
        let socket = OwnedDescriptor(try check(cwl_udp_open(isIPv4 ? 1 : 0), "open a UDP socket", name, advice: advice))
        if isShared { try check(cwl_udp_reuse_port(socket.raw), "share the address", name) }
        cwl_udp_tell_class(socket.raw)
        _ = cwl_set_receive_buffer(socket.raw, Int32(clamping: receiveBuffer))
        _ = cwl_set_send_buffer(socket.raw, Int32(clamping: sendBuffer))
        if isIPv4 {
            try check(cwl_udp_probe_path_v4(socket.raw), "keep packets whole", name)
        } else {
            try check(cwl_udp_both_families(socket.raw), "accept IPv4 as well", name)
            try check(cwl_udp_probe_path_v6(socket.raw), "keep packets whole", name)
            _ = cwl_udp_probe_path_v4(socket.raw)
        }
        return socket
    }

    static func bind(_ socket: borrowing OwnedDescriptor, to endpoint: Endpoint) throws(IOError) {
        let isIPv4 = endpoint.ipv4 != nil
        var address = cwl_address()
        // SAFETY: the address is copied during the calls.
        let length = unsafe cwl_address_put(
            &address, isIPv4 ? 1 : 0, endpoint.high, endpoint.low, endpoint.port, endpoint.scope)
        try check(unsafe cwl_udp_bind(socket.raw, &address, length), "bind", endpoint.description, advice: advice)
    }

    /// Throws when another program, or another gateway, is bound to the endpoint: sockets that are shared would not find out.
    public static func checkIsFree(_ endpoint: Endpoint) throws(IOError) {
        if endpoint.port == 0 { return }
        _ = try open(bind: endpoint, receiveBuffer: 4096, sendBuffer: 4096, isShared: false)
    }

    /// Divides sealed datagrams by their origin tag among the sockets that are bound to this endpoint, in the order in which
    /// they were bound. To be called once all are, on any of them.
    public func steer(among lanes: Int) throws(IOError) {
        // SAFETY: the program is copied during the call.
        try unsafe Device.attach(LaneSteering.datagrams(lanes: lanes), device: localEndpoint.description) {
            unsafe cwl_attach_reuse_filter(socket.raw, $0, $1)
        }
    }

    /// Makes the socket another user's: only sockets of one user share an address, and those of paths are opened later.
    public func give(to account: Account) throws(IOError) {
        try give(socket.raw, to: account)
        for index in 0..<spares.count {
            switch spares[index] {
            case .some(let spare): try give(spare.raw, to: account)
            case .none: break
            }
        }
    }

    private func give(_ descriptor: Int32, to account: Account) throws(IOError) {
        try check(
            cwl_give_descriptor(descriptor, account.user, account.group), "give the socket to \(account)",
            localEndpoint.description, advice: Account.advice)
    }

    /// Readable when a datagram waits.
    public var fileDescriptor: Int32 { socket.raw }

    /// Gives sending its patience back: a few milliseconds in all until the next call of this.
    public mutating func restorePatience() { patience = Patience(waits: UDPSocket.waits) }

    /// Tries segmentation again where the kernel has refused it: a route that could not do it may be gone.
    public mutating func restoreSegmentation() { hasSegmentation = canSegment }

    /// Has the kernel join no datagrams any more.
    public mutating func stopCoalescing() {
        if hasCoalescing && cwl_udp_coalesce(socket.raw, 0) >= 0 { hasCoalescing = false }
    }

    /// Takes up to `limit` messages that wait, at most `receiveBatch`; how many. What the call before gave is void. To ask for one
    /// costs less than to ask for several and get one.
    public mutating func receive(upTo limit: Int = receiveBatch) -> Int { receive(socket.raw, upTo: limit) }

    mutating func receive(_ descriptor: Int32, upTo limit: Int) -> Int {
        for index in 0..<used { vacate(index) }
        used = 0
        held = 0
        // An error of an earlier datagram (an ICMP message) is reported once and stands before the messages.
        for _ in 0..<4 {
            // SAFETY: every place of the list points at memory of this socket.
            let most = min(max(limit, 1), UDPSocket.receiveBatch)
            let result =
                unsafe most == 1
                ? cwl_receive_one(descriptor, incoming.messages)
                : cwl_receive_messages(descriptor, incoming.messages, UInt32(most))
            if result >= 0 {
                held = most == 1 ? 1 : Int(result)
                used = held
                return held
            }
            if result == -Int64(EAGAIN) { return 0 }
        }
        return 0
    }

    /// What the last `receive()` got. Precondition: `index` is below its result.
    public func message(_ index: Int) -> Message {
        precondition(index >= 0 && index < held)
        let length = messageLength(index)
        // SAFETY: the kernel filled this place.
        let received = unsafe cwl_message_received(incoming.messages + index)
        let segment = Int(received.segment)
        let source = unsafe Endpoint(incoming.addresses[index])
        return Message(
            source: source ?? Endpoint(high: 0, low: 0, port: 0), length: length,
            segmentSize: segment > 0 && segment < length ? segment : length, octet: received.octet)
    }

    /// The octets of a message, to change and to keep until the next `receive()`. Precondition: as for `message`.
    @_lifetime(&self)
    public mutating func messageBytes(_ index: Int) -> MutableRawSpan {
        precondition(index >= 0 && index < held)
        return buffer.mutableBytes(at: index * UDPSocket.messageBytes, count: messageLength(index))
    }

    private func messageLength(_ index: Int) -> Int {
        // SAFETY: the caller has checked the index; the kernel filled this place.
        unsafe min(Int(incoming.messages[index].msg_len), UDPSocket.messageBytes)
    }

    /// Datagrams that the kernel dropped at this socket since it was opened, most of them because the receive buffer was
    /// full. A system call.
    public mutating func drops() -> UInt64 {
        let result = cwl_udp_drops(socket.raw)
        if result >= 0 {
            let total = UInt32(truncatingIfNeeded: result)
            countedDrops += UInt64(total &- lastDrops)
            lastDrops = total
        }
        for index in 0..<paths.count { countedDrops += newDrops(onPath: index) }
        countedDrops += closedDrops
        closedDrops = 0
        return countedDrops
    }

    private mutating func vacate(_ index: Int) {
        let size = UDPSocket.messageBytes
        // SAFETY: `index` is below the batch, and the buffer has `size` octets for each place.
        unsafe cwl_message_vacant(
            incoming.messages + index, incoming.parts + index, buffer.pointer + index * size, size,
            incoming.addresses + index, incoming.controls + index)
    }

    static func advice(_ code: Int32) -> String {
        switch code {
        case EADDRINUSE: "another program uses this port"
        case EADDRNOTAVAIL: "no device of this machine has this address"
        case EACCES, EPERM: "ports below 1024 need root or CAP_NET_BIND_SERVICE"
        case EAFNOSUPPORT: "this machine has no such address family; use 0.0.0.0 if IPv6 is switched off"
        case EINVAL: "a link-local address needs its interface"
        default: IOError.generalAdvice(code)
        }
    }
}

extension Endpoint {
    /// `nil` for an address of neither family.
    init?(_ address: cwl_address) {
        var copy = address
        var high: UInt64 = 0
        var low: UInt64 = 0
        var port: UInt16 = 0
        var scope: UInt32 = 0
        // SAFETY: all pointers are to locals, during the call.
        guard unsafe cwl_address_get(&copy, &high, &low, &port, &scope) == 0 else { return nil }
        self.init(high: high, low: low, port: port, scope: scope)
    }
}

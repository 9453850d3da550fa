// Sending: a run of datagrams of one size to one gateway, in as few system calls as the kernel allows.
//
//     | datagram | datagram | ... | last, may be shorter |     cut into calls of at most 64 segments and 65,000 octets
//
// A call that the kernel will not segment is sent again as single datagrams. What is longer than the interface's MTU is refused
// (EMSGSIZE): nothing is fragmented, and what ICMP says of a path is not believed (IP_PMTUDISC_PROBE).

import Basics
import CLinux
import Glibc

extension UDPSocket {
    /// Sends consecutive datagrams of `segmentSize` octets (the last may be shorter). `bytes` is lent for the duration of
    /// the call. Waits at most a few milliseconds in all; what does not go by then has failed.
    ///
    /// - Parameters:
    ///   - path: the number of the path to use, if it leads there; otherwise the main socket is used.
    ///   - octet: what the IP headers say: DSCP in the high six bits, ECN in the low two.
    ///
    /// Precondition: `segmentSize` is positive.
    public mutating func send(
        _ bytes: RawSpan, segmentSize: Int, to destination: Endpoint, path: Int = .max, octet: UInt8 = 0
    ) -> SendResult {
        precondition(segmentSize > 0)
        // SAFETY: the octets stay where they are while the span is lent, which is longer than this call.
        return unsafe bytes.withUnsafeBytes { octets in
            guard let base = octets.baseAddress, octets.count > 0 else { return SendResult() }
            return unsafe send(base, octets.count, segmentSize, destination, path, octet)
        }
    }

    private mutating func send(
        _ base: UnsafeRawPointer, _ count: Int, _ segmentSize: Int, _ destination: Endpoint, _ path: Int, _ octet: UInt8
    ) -> SendResult {
        let connected = descriptor(ofPath: path, to: destination)
        var attempt = SendAttempt(descriptor: connected ?? socket.raw, patience: patience)
        defer { patience = attempt.patience }
        attempt.octet = octet
        attempt.isIPv4 = destination.ipv4 != nil
        if isIPv4 && destination.ipv4 == nil {
            attempt.fail((count + segmentSize - 1) / segmentSize, EAFNOSUPPORT)
            return attempt.result
        }
        if connected == nil {
            // SAFETY: the list's first address is this socket's own.
            attempt.addressLength = unsafe cwl_address_put(
                outgoing.addresses, isIPv4 ? 1 : 0, destination.high, destination.low, destination.port, destination.scope)
        }

        var offset = 0
        while offset < count {
            let left = count - offset
            let segments = hasSegmentation ? min(UDPSocket.segmentLimit, UDPSocket.segmentedBytes / segmentSize) : 1
            if segments > 1 && left > segmentSize {
                let length = min(left, segments * segmentSize)
                unsafe sendSegmented(base + offset, length, segmentSize, &attempt)
                offset += length
            } else {
                let length = min(left, UDPSocket.segmentLimit * segmentSize)
                unsafe sendSingly(base + offset, length, segmentSize, &attempt)
                offset += length
            }
        }
        return attempt.result
    }

    /// One call with UDP_SEGMENT; `length` is within the limits for it.
    private mutating func sendSegmented(
        _ base: UnsafeRawPointer, _ length: Int, _ segmentSize: Int, _ attempt: inout SendAttempt
    ) {
        // SAFETY: the list's first place is free, and the caller lends `length` octets.
        unsafe cwl_message_datagram(
            outgoing.messages, outgoing.parts, base, length, outgoing.addresses, attempt.addressLength)
        unsafe cwl_message_segment(outgoing.messages, outgoing.controls, UInt16(truncatingIfNeeded: segmentSize))
        if attempt.octet != 0 {
            unsafe cwl_message_class(outgoing.messages, outgoing.controls, attempt.isIPv4 ? 1 : 0, attempt.octet)
        }
        let datagrams = (length + segmentSize - 1) / segmentSize
        while true {
            let outcome = unsafe cwl_send_message(attempt.descriptor, outgoing.messages)
            if outcome >= 0 {
                attempt.result.datagramsSent += datagrams
                return
            }
            let code = Int32(truncatingIfNeeded: -outcome)
            switch code {
            case EINVAL, EMSGSIZE, EIO, EOPNOTSUPP:
                // EIO: the device cannot finish checksums, so that no segmentation is possible.
                if code == EIO || code == EOPNOTSUPP { hasSegmentation = false }
                unsafe sendSingly(base, length, segmentSize, &attempt)
                return
            default:
                if attempt.shouldRetry(after: code) { continue }
                attempt.fail(datagrams, code)
                return
            }
        }
    }

    /// A message each for at most `segmentLimit` datagrams.
    private mutating func sendSingly(
        _ base: UnsafeRawPointer, _ length: Int, _ segmentSize: Int, _ attempt: inout SendAttempt
    ) {
        let count = (length + segmentSize - 1) / segmentSize
        for index in 0..<count {
            // SAFETY: `count` is at most the list's, and the octets are within `length`.
            unsafe cwl_message_datagram(
                outgoing.messages + index, outgoing.parts + index, base + index * segmentSize,
                min(segmentSize, length - index * segmentSize), outgoing.addresses, attempt.addressLength)
            if attempt.octet != 0 {
                // The same for all of them.
                unsafe cwl_message_class(
                    outgoing.messages + index, outgoing.controls, attempt.isIPv4 ? 1 : 0, attempt.octet)
            }
        }
        var first = 0
        while first < count {
            // The kernel pays for each structure that it has to look into: one datagram goes without any.
            let isLast = first + 1 == count
            let outcome =
                unsafe isLast
                ? cwl_send_one(attempt.descriptor, outgoing.messages + first)
                : cwl_send_messages(attempt.descriptor, outgoing.messages + first, UInt32(count - first))
            if outcome > 0 {
                let sent = isLast ? 1 : Int(outcome)
                attempt.result.datagramsSent += sent
                first += sent
                continue
            }
            let code = Int32(truncatingIfNeeded: -outcome)
            if attempt.shouldRetry(after: code) { continue }
            attempt.fail(1, code)
            first += 1
        }
    }
}

/// The account and the patience of one `send`.
private struct SendAttempt {
    var result = SendResult()
    /// 0 where the socket is connected.
    var addressLength: UInt32 = 0
    /// What the IP headers say.
    var octet: UInt8 = 0
    var isIPv4 = true
    let descriptor: Int32
    /// The socket's, which all sends of a turn share.
    fileprivate var patience: Patience
    private var staleErrors = 2

    init(descriptor: Int32, patience: Patience) {
        self.descriptor = descriptor
        self.patience = patience
    }

    mutating func fail(_ datagrams: Int, _ code: Int32) {
        result.datagramsFailed += datagrams
        result.lastError = code
    }

    mutating func shouldRetry(after code: Int32) -> Bool {
        switch code {
        case EINTR:
            return true
        case EAGAIN, ENOBUFS:
            return patience.wait(descriptor, after: code)
        case ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EPROTO:
            // An ICMP message about an earlier datagram; reading it cleared it.
            staleErrors -= 1
            return staleErrors > 0
        default:
            return false
        }
    }
}

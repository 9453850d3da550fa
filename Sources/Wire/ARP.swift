// Address resolution of IPv4 over Ethernet (RFC 826; gratuitous ARP and probes by RFC 5227).
//
//      0               1               2               3
//     +-------------------------------+-------------------------------+
//   0 | hardware type: 1, Ethernet    | protocol type: 0x0800         |
//     +---------------+---------------+-------------------------------+
//   4 | 6             | 4             | operation                     |
//     +---------------+---------------+-------------------------------+
//   8 | sender: 6 octets of MAC address, 4 of IPv4 address            |
//  18 | target: 6 octets of MAC address, 4 of IPv4 address            |
//     +---------------------------------------------------------------+

import Basics

/// ARP for IPv4 over Ethernet; other hardware and protocols are not views of it.
public enum ARP {
    /// Octets of a packet.
    @inlinable public static var byteCount: Int { 28 }

    /// What the packet is for. Every number is a valid value.
    public struct Operation: Hashable, Sendable, BitwiseCopyable {
        public let rawValue: UInt16
        @inlinable public init(rawValue: UInt16) { self.rawValue = rawValue }
        @inlinable public static var request: Operation { Operation(rawValue: 1) }
        @inlinable public static var reply: Operation { Operation(rawValue: 2) }
    }

    /// Offsets in octets from the packet's start.
    @usableFromInline enum Field {
        @inlinable static var hardwareAndProtocol: Int { 0 }
        @inlinable static var lengths: Int { 4 }
        @inlinable static var operation: Int { 6 }
        @inlinable static var senderHardware: Int { 8 }
        @inlinable static var senderAddress: Int { 14 }
        @inlinable static var targetHardware: Int { 18 }
        @inlinable static var targetAddress: Int { 24 }
    }

    /// Ethernet and IPv4, in one word.
    @inlinable static var ethernetAndIPv4: UInt32 { 0x0001_0800 }
    /// Six octets and four.
    @inlinable static var addressLengths: UInt16 { 0x0604 }

    /// The octets of an ARP packet, known to be there in full.
    public struct View: ~Escapable {
        @usableFromInline let bytes: RawSpan

        /// `nil` unless `bytes` begin with 28 octets of ARP for IPv4 over Ethernet.
        @inlinable @_lifetime(copy bytes)
        public init?(_ bytes: RawSpan) {
            guard bytes.byteCount >= ARP.byteCount else { return nil }
            // SAFETY: 28 octets are there.
            guard unsafe bytes.loadBE32(unchecked: Field.hardwareAndProtocol) == ARP.ethernetAndIPv4,
                unsafe bytes.loadBE16(unchecked: Field.lengths) == ARP.addressLengths
            else { return nil }
            self.bytes = bytes
        }

        // SAFETY of every accessor: `init` has checked 28 octets; an eight-octet load from 6 or 18 ends before.

        @inlinable public var operation: Operation { unsafe Operation(rawValue: bytes.loadBE16(unchecked: Field.operation)) }
        @inlinable public var senderHardware: MACAddress {
            unsafe MACAddress(rawValue: bytes.loadBE64(unchecked: Field.senderHardware) >> 16)
        }
        /// In host order; 0 in a probe.
        @inlinable public var senderAddress: UInt32 { unsafe bytes.loadBE32(unchecked: Field.senderAddress) }
        @inlinable public var targetHardware: MACAddress {
            unsafe MACAddress(rawValue: bytes.loadBE64(unchecked: Field.targetHardware) >> 16)
        }
        /// In host order.
        @inlinable public var targetAddress: UInt32 { unsafe bytes.loadBE32(unchecked: Field.targetAddress) }
        /// True when the sender announces its own address.
        @inlinable public var isGratuitous: Bool { senderAddress == targetAddress }
    }

    /// A packet as a value.
    public struct Packet: Hashable, Sendable, BitwiseCopyable {
        public var operation: Operation
        public var senderHardware: MACAddress
        public var senderAddress: UInt32
        public var targetHardware: MACAddress
        public var targetAddress: UInt32

        @inlinable
        public init(
            operation: Operation, senderHardware: MACAddress, senderAddress: UInt32, targetHardware: MACAddress,
            targetAddress: UInt32
        ) {
            self.operation = operation
            self.senderHardware = senderHardware
            self.senderAddress = senderAddress
            self.targetHardware = targetHardware
            self.targetAddress = targetAddress
        }

        @inlinable
        public init(_ view: borrowing View) {
            self.init(
                operation: view.operation, senderHardware: view.senderHardware, senderAddress: view.senderAddress,
                targetHardware: view.targetHardware, targetAddress: view.targetAddress)
        }

        /// Writes 28 octets. Returns where they end; `nil`, and nothing written, if they do not fit.
        @inlinable
        public func emit(into buffer: inout MutableRawSpan, at offset: Int) -> Int? {
            guard buffer.holds(ARP.byteCount, at: offset) else { return nil }
            // SAFETY: `holds` has checked 28 octets from `offset`; each MAC address's two extra octets are overwritten next.
            unsafe buffer.storeBE32(ARP.ethernetAndIPv4, unchecked: offset &+ Field.hardwareAndProtocol)
            unsafe buffer.storeBE16(ARP.addressLengths, unchecked: offset &+ Field.lengths)
            unsafe buffer.storeBE16(operation.rawValue, unchecked: offset &+ Field.operation)
            unsafe buffer.storeBE64(senderHardware.rawValue << 16, unchecked: offset &+ Field.senderHardware)
            unsafe buffer.storeBE32(senderAddress, unchecked: offset &+ Field.senderAddress)
            unsafe buffer.storeBE64(targetHardware.rawValue << 16, unchecked: offset &+ Field.targetHardware)
            unsafe buffer.storeBE32(targetAddress, unchecked: offset &+ Field.targetAddress)
            return offset &+ ARP.byteCount
        }
    }
}

// Filter expressions (pcap-filter(7)) compiled by libpcap to classic BPF: as instructions for a socket, and to be run on
// frames here, as a replay does.

import Basics
import CPcap

/// A compiled filter for Ethernet frames.
///
/// It looks for VLAN tags in the frame. The kernel takes the outermost tag off before a packet socket's filter runs, so
/// there `vlan` matches nothing: with tags in the expression, run `matches` on the frame once its tag is back. `inbound`,
/// `outbound` and `ifindex` are the other way round: they ask the kernel, and `matches` is false for them.
public struct PacketFilter: Sendable {
    /// The text it was compiled from.
    public let expression: String
    private let program: [bpf_insn]

    /// Compiles an expression; the empty one matches every frame. A host name in it is looked up, which may block.
    /// - Throws: `filter`, with libpcap's words and the expression.
    public init(expression: String) throws(CaptureError) {
        let handle = PcapHandle(deadWithSnapshotLength: CaptureReader.longestFrame)
        let compiled = try CompiledProgram(expression, for: handle)
        self.expression = expression
        program = compiled.instructions
    }

    /// The program in the form that crosses targets.
    public var instructions: [FilterInstruction] {
        program.map { FilterInstruction(code: $0.code, jumpTrue: $0.jt, jumpFalse: $0.jf, k: $0.k) }
    }

    /// True when the filter accepts the frame.
    /// - Parameter originalLength: octets on the wire, which may be more than there are here.
    public func matches(_ frame: RawSpan, originalLength: Int) -> Bool {
        unsafe frame.withUnsafeBytes { octets in
            unsafe program.withUnsafeBufferPointer { program in
                // SAFETY: libpcap compiled and so validated the program, which ends in a return; it reads only within the
                // length given, and nothing at all where that is 0.
                unsafe bpf_filter(
                    program.baseAddress, octets.baseAddress?.assumingMemoryBound(to: UInt8.self),
                    UInt32(clamping: originalLength), UInt32(clamping: octets.count)) != 0
            }
        }
    }

    /// True when the filter accepts the frame. See `matches(_:originalLength:)`.
    public func matches(_ frame: [UInt8], originalLength: Int) -> Bool {
        // SAFETY: an octet has no padding, so every one of the span is initialised.
        unsafe matches(frame.span.bytes, originalLength: originalLength)
    }
}

/// The same for a lane: it stays in libpcap's memory, so that running it counts no references.
public struct LaneFilter: ~Copyable, @unchecked Sendable {
    private let program: CompiledProgram

    /// Compiles the expression for whole Ethernet frames, tags included.
    /// - Throws: `filter`, with libpcap's words and the expression.
    public init(expression: String) throws(CaptureError) {
        program = try CompiledProgram(expression, for: PcapHandle(deadWithSnapshotLength: CaptureReader.longestFrame))
    }

    /// True when the filter accepts the frame, which is whole.
    public func matches(_ frame: borrowing MutableRawSpan) -> Bool { program.matches(frame) }
}

/// A program in libpcap's memory, freed with the value.
@safe
struct CompiledProgram: ~Copyable {
    private var program = unsafe bpf_program()

    /// Compiles for the handle's link type, optimised, with the netmask unknown.
    init(_ expression: String, for handle: borrowing PcapHandle) throws(CaptureError) {
        let text = expression.utf8.contains(0) ? nil : expression
        // SAFETY: the handle is open, and the expression is a terminated string during the call. libpcap compiles one
        // expression at a time under its own lock.
        let status = text.map { unsafe pcap_compile(handle.pointer, &program, $0, 1, UInt32.max) } ?? -1
        guard status == 0 else {
            let problem = text == nil ? "it contains a zero octet" : handle.errorText
            throw CaptureError(
                kind: .filter, subject: "filter \"\(expression)\"", problem: problem,
                hint: "the syntax is that of tcpdump: man 7 pcap-filter")
        }
    }

    deinit {
        var program = unsafe program
        // SAFETY: frees what pcap_compile allocated, or nothing where it did not get that far; this is the only owner.
        unsafe pcap_freecode(&program)
    }

    var instructions: [bpf_insn] {
        // SAFETY: libpcap holds `bf_len` instructions at `bf_insns` until they are freed.
        unsafe [bpf_insn](UnsafeBufferPointer(start: program.bf_insns, count: Int(program.bf_len)))
    }

    /// Runs the program on a whole frame.
    func matches(_ frame: borrowing MutableRawSpan) -> Bool {
        let instructions = unsafe program.bf_insns
        return unsafe frame.withUnsafeBytes { octets in
            // SAFETY: as in `PacketFilter.matches`; the instructions live as long as self.
            unsafe bpf_filter(
                instructions, octets.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt32(clamping: octets.count),
                UInt32(clamping: octets.count)) != 0
        }
    }

    /// Attaches the program to a handle.
    /// - Returns: true on success; the words for a failure are the handle's.
    mutating func attach(to handle: borrowing PcapHandle) -> Bool {
        // SAFETY: both are alive; libpcap copies the program.
        unsafe pcap_setfilter(handle.pointer, &program) == 0
    }
}

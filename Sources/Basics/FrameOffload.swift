// What the kernel left undone on a frame that a local sender handed over: an unfinished checksum, or a super-frame that
// is still to be cut into segments. The contents of a virtio network header (virtio 1.2 section 5.1.6), as a value.

/// Work that is still to be done before the frame may go on a wire.
public struct FrameOffload: Hashable, Sendable, BitwiseCopyable {
    public enum Segmentation: UInt8, Sendable, BitwiseCopyable {
        case none
        case tcp4
        case tcp6
        /// UDP of either family cut into datagrams of `segmentSize` (virtio's UDP_L4, Linux's USO).
        case udp
        /// A kind this program does not know how to cut.
        case unknown
    }

    public var segmentation: Segmentation
    /// Octets of transport payload in each segment but the last; 0 with `.none`.
    public var segmentSize: UInt16
    /// True when the checksum at `checksumStart + checksumOffset` holds only the pseudo-header's sum.
    public var needsChecksum: Bool
    /// Where the checksummed octets begin, from the frame's start.
    public var checksumStart: UInt16
    /// Where the checksum field is, from `checksumStart`.
    public var checksumOffset: UInt16

    @inlinable public init(
        segmentation: Segmentation = .none, segmentSize: UInt16 = 0, needsChecksum: Bool = false,
        checksumStart: UInt16 = 0, checksumOffset: UInt16 = 0
    ) {
        self.segmentation = segmentation
        self.segmentSize = segmentSize
        self.needsChecksum = needsChecksum
        self.checksumStart = checksumStart
        self.checksumOffset = checksumOffset
    }

    public static let none = FrameOffload()

    /// True when the frame is ready for a wire as it is.
    @inlinable public var isFinished: Bool { segmentation == .none && !needsChecksum }
}

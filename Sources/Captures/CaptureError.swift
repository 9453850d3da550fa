// What can go wrong with a capture file, a filter or a libpcap port, in words for the person who named it: which file
// or device, which frame, what is wrong, what to do. The rest of the program prints these as they are.

import Glibc

/// An error about one capture file, filter expression or device.
///
/// Printed as `SUBJECT: frame N: PROBLEM (HINT)`; the frame only where one is known.
public struct CaptureError: Error, Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        /// The file cannot be opened or read: missing, a directory, not permitted.
        case unreadable
        /// The file cannot be created or written: not permitted, the disk is full.
        case unwritable
        /// Neither pcap nor pcapng, or a version of them that libpcap does not read.
        case notACapture
        /// The frames are not Ethernet, all of them or those of one interface.
        case linkType
        /// The file is a capture, but not from this frame on.
        case damaged
        /// The filter expression does not compile.
        case filter
        /// The device cannot be opened, or not in the way a port needs it.
        case device
    }

    public let kind: Kind
    /// The path, the filter expression or the device, as it was given.
    public let subject: String
    /// The first frame that could not be read, counted from 1; `nil` where the error is not about a frame.
    public let frame: Int?
    /// What is wrong; libpcap's or the system's own words where there are such.
    public let problem: String
    /// What to do about it.
    public let hint: String

    public init(kind: Kind, subject: String, frame: Int? = nil, problem: String, hint: String) {
        self.kind = kind
        self.subject = subject
        self.frame = frame
        self.problem = problem
        self.hint = hint
    }
}

extension CaptureError: CustomStringConvertible {
    public var description: String {
        let place = frame.map { "frame \($0): " } ?? ""
        return "\(subject): \(place)\(problem) (\(hint))"
    }
}

/// The system's words for an error number.
func systemText(_ code: Int32) -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    // SAFETY: POSIX's strerror_r writes at most the count given; the text it returns is copied before the buffer goes.
    return unsafe buffer.withUnsafeMutableBufferPointer { text in
        let start = unsafe text.baseAddress.unsafelyUnwrapped
        return unsafe strerror_r(code, start, text.count) == 0 ? unsafe String(cString: start) : "error \(code)"
    }
}

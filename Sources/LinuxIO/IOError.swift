// What a failed call to the kernel looks like to the rest of the program: which operation, on what, the errno, and what
// the operator can do about it. Only calls that set things up throw; calls per packet count.

import CLinux
import Glibc

/// A call to the kernel that failed.
public struct IOError: Error, Hashable, Sendable {
    /// What was tried, as it reads after "cannot": `bind`, `open the packet ring`.
    public let operation: String
    /// The device, address or path it was tried on.
    public let subject: String
    /// The errno; 0 when the kernel was not asked or has no number for it.
    public let code: Int32
    /// What to do about it, or what is wrong; empty when the errno says it all.
    public let advice: String

    public init(operation: String, subject: String, code: Int32 = 0, advice: String = "") {
        self.operation = operation
        self.subject = subject
        self.code = code
        self.advice = advice
    }

    /// The kernel's text for the errno; empty for 0.
    public var reason: String { code == 0 ? "" : IOError.text(code) }

    /// The kernel's text for any errno, say one of a `TransmitResult`.
    public static func text(_ code: Int32) -> String {
        // SAFETY: the text is a constant of the C library.
        guard let text = unsafe cwl_error_text(code) else { return "error \(code)" }
        return unsafe String(cString: text)
    }
}

extension IOError: CustomStringConvertible {
    /// `eth1: cannot open a packet socket: Operation not permitted (run as root or with CAP_NET_RAW)`
    public var description: String {
        let base = "\(subject): cannot \(operation)"
        if code == 0 { return advice.isEmpty ? base : "\(base): \(advice)" }
        return advice.isEmpty ? "\(base): \(reason)" : "\(base): \(reason) (\(advice))"
    }
}

/// Turns a result of CLinux into a value or an error.
@discardableResult
func check(
    _ result: Int64, _ operation: @autoclosure () -> String, _ subject: String,
    advice: (Int32) -> String = IOError.generalAdvice
) throws(IOError) -> Int64 {
    if result >= 0 { return result }
    let code = Int32(truncatingIfNeeded: -result)
    throw IOError(operation: operation(), subject: subject, code: code, advice: advice(code))
}

extension IOError {
    static func generalAdvice(_ code: Int32) -> String {
        switch code {
        case EPERM, EACCES: "run as root, or with CAP_NET_RAW and CAP_NET_ADMIN"
        case EMFILE: "raise the limit of open files: ulimit -n"
        case ENOMEM, ENOBUFS: "the kernel is out of memory for this; ask for smaller buffers"
        default: ""
        }
    }

    static func noAdvice(_ code: Int32) -> String { "" }
}

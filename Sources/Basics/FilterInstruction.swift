// One instruction of a classic BPF program, as a value: `Captures` compiles expressions to these, `LinuxIO` attaches
// them to a socket, and neither needs the other.

/// A classic BPF instruction (McCanne and Jacobson 1993; `struct sock_filter`).
public struct FilterInstruction: Hashable, Sendable, BitwiseCopyable {
    public var code: UInt16
    public var jumpTrue: UInt8
    public var jumpFalse: UInt8
    public var k: UInt32

    public init(code: UInt16, jumpTrue: UInt8, jumpFalse: UInt8, k: UInt32) {
        self.code = code
        self.jumpTrue = jumpTrue
        self.jumpFalse = jumpFalse
        self.k = k
    }
}

// What the tests of this target share: a temporary directory, capture files put together from numbers, and threads with
// a network namespace or a user of their own.

import Captures
import Glibc
import Testing

/// A directory that goes away, with the files in it, with the value.
final class TemporaryDirectory {
    let path: String

    init() {
        var template = Array("/tmp/causeway-captures-XXXXXX".utf8CString)
        // SAFETY: mkdtemp changes the terminated template in place.
        unsafe template.withUnsafeMutableBufferPointer { template in
            precondition(unsafe mkdtemp(template.baseAddress!) != nil)
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        if let directory = unsafe opendir(path) {
            while let entry = unsafe readdir(directory) {
                // SAFETY: d_name is a terminated string inside the entry, copied here.
                let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
                    unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
                }
                unsafe unlink("\(path)/\(name)")
            }
            unsafe closedir(directory)
        }
        unsafe rmdir(path)
    }

    /// Writes a file and returns its path.
    func file(_ name: String, _ bytes: [UInt8]) -> String {
        let path = "\(path)/\(name)"
        let file = unsafe fopen(path, "wb")!
        let written = unsafe fwrite(bytes, 1, bytes.count, file)
        precondition(written == bytes.count)
        unsafe fclose(file)
        return path
    }
}

/// The octets of a file; empty where it cannot be read.
func contents(of path: String) -> [UInt8] {
    guard let file = unsafe fopen(path, "rb") else { return [] }
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = unsafe fread(&block, 1, block.count, file)
        if count == 0 { break }
        bytes += block[..<count]
    }
    unsafe fclose(file)
    return bytes
}

/// Hexadecimal octets; white space is ignored.
func hex(_ text: String) -> [UInt8] {
    let digits = Array(text.filter { !$0.isWhitespace })
    precondition(digits.count % 2 == 0)
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(String(digits[$0...$0 + 1]), radix: 16)! }
}

/// Fixed-width integers of a file in one byte order.
struct Octets {
    let isBigEndian: Bool
    var bytes: [UInt8] = []

    mutating func put<T: FixedWidthInteger>(_ value: T) {
        let little = (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T($0 * 8)) }
        bytes += isBigEndian ? little.reversed() : little
    }
}

/// A pcapng file, block by block.
struct PcapngFile {
    private var octets: Octets
    var bytes: [UInt8] { octets.bytes }

    init(isBigEndian: Bool) {
        octets = Octets(isBigEndian: isBigEndian)
        section()
    }

    mutating func section() {
        block(0x0A0D_0D0A) { body in
            body.put(0x1A2B_3C4D as UInt32)
            body.put(1 as UInt16)
            body.put(0 as UInt16)
            body.put(UInt64.max)
        }
    }

    /// - Parameter resolution: the octet of if_tsresol: a power of ten, or of two with the high bit set.
    mutating func interface(linkType: UInt16 = 1, snapshotLength: UInt32 = 0, resolution: UInt8 = 6, offset: Int64 = 0) {
        block(1) { body in
            body.put(linkType)
            body.put(0 as UInt16)
            body.put(snapshotLength)
            body.put(9 as UInt16)
            body.put(1 as UInt16)
            body.bytes += [resolution, 0, 0, 0]
            if offset != 0 {
                body.put(14 as UInt16)
                body.put(8 as UInt16)
                body.put(offset)
            }
            body.put(0 as UInt32)
        }
    }

    mutating func packet(interface: UInt32, timestamp: UInt64, _ data: [UInt8]) {
        block(6) { body in
            body.put(interface)
            body.put(UInt32(timestamp >> 32))
            body.put(UInt32(truncatingIfNeeded: timestamp))
            body.put(UInt32(data.count))
            body.put(UInt32(data.count))
            body.bytes += data + [UInt8](repeating: 0, count: (4 - data.count % 4) % 4)
        }
    }

    private mutating func block(_ type: UInt32, _ fill: (inout Octets) -> Void) {
        var body = Octets(isBigEndian: octets.isBigEndian)
        fill(&body)
        octets.put(type)
        octets.put(UInt32(body.bytes.count + 12))
        octets.bytes += body.bytes
        octets.put(UInt32(body.bytes.count + 12))
    }
}

/// Reads to the end or the first error.
func readAll(_ path: String) -> (frames: [CapturedFrame], error: CaptureError?) {
    var frames: [CapturedFrame] = []
    do throws(CaptureError) {
        let reader = try CaptureReader(path: path)
        while let frame = try reader.next() { frames.append(frame) }
        return (frames, nil)
    } catch {
        return (frames, error)
    }
}

/// A function of the C library that Swift's importer hides (it is declared for _GNU_SOURCE): `unshare`, `setfsuid`.
private func hiddenFunction(_ name: String) -> @convention(c) (Int32) -> Int32 {
    let function = unsafe dlsym(dlopen(nil, RTLD_NOW), name)!
    // SAFETY: both functions take one 32-bit integer and return an int.
    return unsafe unsafeBitCast(function, to: (@convention(c) (Int32) -> Int32).self)
}

/// Runs `body` on a new thread and waits for it.
private func onThread(_ body: @escaping () -> Void) {
    final class Box {
        let body: () -> Void
        init(_ body: @escaping () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let box = unsafe Unmanaged.passRetained(Box(body))
    // SAFETY: the box is retained until the thread, which is joined below, takes it.
    let status = unsafe pthread_create(
        &thread, nil,
        { argument in
            let box = unsafe Unmanaged<Box>.fromOpaque(argument!).takeRetainedValue()
            box.body()
            return nil
        }, box.toOpaque())
    precondition(status == 0)
    pthread_join(thread, nil)
}

/// Runs `body` as a user without rights to files of root's. Needs root.
func asNobody(_ body: @escaping () -> Void) {
    onThread {
        // The file-system user belongs to the thread, and root's exemption from permissions goes with it.
        _ = hiddenFunction("setfsuid")(65_534)
        body()
    }
}

enum Namespace {
    static let isAvailable: Bool = {
        guard geteuid() == 0 else { return false }
        nonisolated(unsafe) var works = false
        onThread { unsafe works = hiddenFunction("unshare")(0x4000_0000) == 0 && ip("link") }
        return unsafe works
    }()

    /// Runs `body` on a thread in a network namespace of its own, with a pair of devices, `left` and `right`.
    static func withPair(mtu: Int = 1500, _ body: @escaping () throws -> Void) {
        onThread {
            precondition(hiddenFunction("unshare")(0x4000_0000) == 0)
            precondition(ip("link add left mtu \(mtu) type veth peer name right mtu \(mtu)"))
            // Without addresses the kernel has nothing to say on the devices.
            for device in ["left", "right"] { precondition(ip("link set \(device) addrgenmode none up")) }
            #expect(throws: Never.self) { try body() }
        }
    }

    /// Runs `ip` in the calling thread's namespace.
    @discardableResult
    static func ip(_ arguments: String) -> Bool {
        let words = ["ip"] + arguments.split(separator: " ").map(String.init)
        var pointers = unsafe words.map { unsafe strdup($0) }
        unsafe pointers.append(nil)
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        var child: pid_t = 0
        // SAFETY: the arguments are terminated strings, ended by a null, alive until the child has started.
        let status = unsafe posix_spawnp(&child, "ip", &actions, nil, pointers, environ)
        unsafe posix_spawn_file_actions_destroy(&actions)
        for index in unsafe pointers.indices { unsafe free(pointers[index]) }
        guard status == 0 else { return false }
        var result: Int32 = 0
        unsafe waitpid(child, &result, 0)
        return result == 0
    }
}

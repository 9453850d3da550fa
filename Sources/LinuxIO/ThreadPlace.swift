// Which processors a thread runs on (sched_setaffinity(2)), what it has cost (/proc/thread-self/schedstat), and which processors are
// idle (/proc/stat): what a `Placement` decides from, and what becomes of its decisions.

import Basics
import Buffers
import CLinux
import Glibc
import Wire

/// The processors of the thread that makes it, and that uses it.
public struct ThreadPlace: ~Copyable {
    /// The scheduler's account of the thread; negative where there is none.
    private let account: Int32
    /// What all processors have done; negative where the kernel does not say.
    private let statistics: Int32
    private var text: OwnedBytes
    /// What each processor had been idle for at `looked`, in hundredths of a second.
    private var idleTicks = InlineArray<64, UInt64>(repeating: 0)
    private var looked = Instant.zero
    /// What the thread is given back when it leaves; what it has been given to stay; room for a third set.
    private var given: OwnedBytes
    private var chosen: OwnedBytes
    private var present: OwnedBytes
    private var isStaying = false

    public init() {
        // SAFETY: the path is read during the call.
        account = unsafe open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)
        statistics = unsafe open("/proc/stat", O_RDONLY | O_CLOEXEC)
        text = OwnedBytes(count: 8_192)
        given = OwnedBytes(count: cwl_processors_size())
        chosen = OwnedBytes(count: cwl_processors_size())
        present = OwnedBytes(count: cwl_processors_size())
    }

    deinit {
        if account >= 0 { _ = cwl_close(account) }
        if statistics >= 0 { _ = cwl_close(statistics) }
    }

    /// Keeps the thread on one of the processors it might run on otherwise. False where that is impossible.
    public mutating func stay(on processor: Int) -> Bool {
        // SAFETY: here and below, each block has room for a set.
        guard unsafe cwl_thread_processors(present.pointer) >= 0 else { return false }
        noteOthers()
        if !isStaying {
            if unsafe cwl_processors_has(present.pointer, Int32(clamping: processor)) == 0 { return false }
            keepGiven()
        } else if unsafe cwl_processors_has(given.pointer, Int32(clamping: processor)) == 0 {
            return false
        }
        guard unsafe cwl_processors_only(present.pointer, Int32(clamping: processor)) >= 0,
            unsafe cwl_thread_set_processors(present.pointer) >= 0
        else { return false }
        unsafe chosen.pointer.copyMemory(from: present.pointer, byteCount: cwl_processors_size())
        isStaying = true
        return true
    }

    /// The thread may run wherever it might otherwise: also where its cpuset has grown to meanwhile.
    public mutating func leave() {
        guard isStaying, unsafe cwl_thread_processors(present.pointer) >= 0 else { return }
        noteOthers()
        if isStaying { _ = unsafe cwl_thread_set_processors(given.pointer) }
        isStaying = false
    }

    /// Whoever else has given the thread other processors knows better.
    private mutating func noteOthers() {
        if unsafe isStaying && cwl_processors_equal(present.pointer, chosen.pointer) == 0 { isStaying = false }
    }

    /// Finds out what to give back: all processors, which the kernel takes for those of the cpuset whatever becomes of that, unless
    /// somebody has given the thread fewer than its cpuset has.
    private mutating func keepGiven() {
        unsafe cwl_processors_all(given.pointer)
        guard unsafe cwl_thread_set_processors(given.pointer) >= 0, unsafe cwl_thread_processors(chosen.pointer) >= 0,
            unsafe cwl_processors_equal(present.pointer, chosen.pointer) == 0
        else { return }
        unsafe given.pointer.copyMemory(from: present.pointer, byteCount: cwl_processors_size())
        _ = unsafe cwl_thread_set_processors(given.pointer)
    }

    /// Where the thread is.
    public var processor: Int { Int(cwl_thread_processor()) }

    /// Whether the thread may run there.
    public mutating func mayRun(on processor: Int) -> Bool {
        unsafe cwl_thread_processors(present.pointer) >= 0
            && cwl_processors_has(present.pointer, Int32(clamping: processor)) != 0
    }

    /// Of the processors that the thread may run on, those that have been idle for half of the time since this was last called, one
    /// bit each. None where there are more of them than are worth trying, or the kernel does not say. Not to be called while it
    /// stays.
    public mutating func idleProcessors(at now: Instant) -> UInt64 {
        guard statistics >= 0, usableProcessors() <= Placement.candidateLimit else { return 0 }
        // SAFETY: the block has room for as many octets.
        let count = unsafe cwl_pread(statistics, text.pointer, text.count, 0)
        guard count > 0 else { return 0 }
        // What processors do is counted in hundredths of a second (USER_HZ).
        let elapsed = UInt64(max((now - looked).nanoseconds, 0) / 10_000_000)
        looked = now
        let ticks = ProcessorLines.ticks(text.bytes(at: 0, count: Int(count)))
        var idle: UInt64 = 0
        for processor in 0..<ticks.count {
            let more = ticks[processor] &- idleTicks[processor]
            if elapsed > 0 && more <= 2 * elapsed && more * 2 >= elapsed && mayRun(on: processor) {
                idle |= 1 << UInt64(processor)
            }
        }
        idleTicks = ticks
        return idle
    }

    /// All the time that the thread has run, or has been ready to run without a processor; `nil` where the kernel does not say.
    public func cost() -> Interval? {
        if account < 0 { return nil }
        let result = cwl_thread_cost(account)
        return result <= 0 ? nil : .nanoseconds(result)
    }
}

/// The lines `cpuN user nice system idle iowait ...` at the start of /proc/stat (proc_stat(5)).
struct ProcessorLines: ~Escapable {
    private let text: RawSpan
    private var position = 0

    @_lifetime(copy text)
    init(_ text: RawSpan) { self.text = text }

    /// How long each of the first processors has been idle; 0 for one that is not there.
    static func ticks(_ text: RawSpan) -> InlineArray<64, UInt64> {
        var ticks = InlineArray<64, UInt64>(repeating: 0)
        var line = ProcessorLines(text)
        while let (processor, idle) = line.next(), processor < ticks.count { ticks[processor] = idle }
        return ticks
    }

    /// The next processor and how long it has been idle, waiting for devices included; `nil` behind the last.
    mutating func next() -> (processor: Int, idle: UInt64)? {
        while word() == 0x6370_75 {
            position += 3
            let processor = number()
            var fields = InlineArray<5, UInt64>(repeating: 0)
            for index in 0..<5 {
                while octet() == UInt8(ascii: " ") { position += 1 }
                fields[index] = number() ?? 0
            }
            while let last = octet(), last != UInt8(ascii: "\n") { position += 1 }
            position += 1
            // The first line is the sum of all.
            if let processor { return (Int(clamping: processor), fields[3] &+ fields[4]) }
        }
        return nil
    }

    private func octet() -> UInt8? { text.loadByte(at: position) }

    /// The next three octets; 0 where there are fewer.
    private func word() -> UInt32 {
        guard let a = text.loadByte(at: position), let b = text.loadByte(at: position + 1),
            let c = text.loadByte(at: position + 2)
        else { return 0 }
        return UInt32(a) << 16 | UInt32(b) << 8 | UInt32(c)
    }

    private mutating func number() -> UInt64? {
        var value: UInt64?
        while let digit = octet(), digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") {
            value = (value ?? 0) &* 10 &+ UInt64(digit &- UInt8(ascii: "0"))
            position += 1
        }
        return value
    }
}

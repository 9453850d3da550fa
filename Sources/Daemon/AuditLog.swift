// The audit file of a live gateway. A line that cannot be written is lost and counted, and said in the log once a minute: the
// gateway goes on, since what it denies stays denied.

import Basics
import LinuxIO
import Logging

struct AuditLog: ~Copyable {
    private let file: AppendFile
    private let logger: Logger
    /// Lines that could not be written since the last that the log told of.
    private var failures: UInt64 = 0
    private var nextWarning = Instant.zero
    private static let warningPeriod = Interval.seconds(60)

    init(path: String, _ logger: Logger) throws(IOError) {
        file = try AppendFile(path: path)
        self.logger = logger
    }

    mutating func append(_ line: String, at now: Instant) {
        do throws(IOError) {
            try file.append(line)
        } catch {
            failures += 1
            guard now >= nextWarning else { return }
            logger.warning("audit.file: \(error); \(failures) lines are lost")
            failures = 0
            nextWarning = now + AuditLog.warningPeriod
        }
    }
}

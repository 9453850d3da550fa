// Warnings about things that are tried again and again, such as names that lead nowhere: each is said now and then, with how
// often it was held back.

import Basics
import Gateway
import LinuxIO
import Logging
import Synchronization

/// Any thread may warn.
final class LimitedWarnings: Sendable {
    private static let period = Interval.seconds(300)
    /// Subjects that are kept apart. With more, all are forgotten, and said once more.
    private static let limit = 1_024

    private let logger: Logger
    private let limiters = Mutex<[String: RateLimiter]>([:])

    init(_ logger: Logger) { self.logger = logger }

    /// - Parameter subject: what the warning is about; warnings about others are not held back by it.
    func warn(of subject: String, _ message: String) {
        let now = MonotonicClock.now()
        let suppressed = limiters.withLock { limiters in
            if limiters.count >= LimitedWarnings.limit && limiters[subject] == nil { limiters = [:] }
            return limiters[subject, default: RateLimiter(period: LimitedWarnings.period)].admit(at: now)
        }
        guard let suppressed else { return }
        let more = suppressed == 0 ? "" : " (and \(suppressed) more like this since the last line)"
        logger.warning("\(message)\(more)")
    }
}

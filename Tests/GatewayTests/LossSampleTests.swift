// What a link's loss is counted from: samples of a hundred datagrams, without what silences have swallowed.

import Testing

@testable import Gateway

struct LossSampleTests {
    @Test func aSampleIsAHundredDatagrams() throws {
        var sample = LossSample()
        let look1 = sample.take(1_000, 50)
        #expect(look1 == nil, "the first look is where counting begins")
        let look2 = sample.take(1_060, 53)
        #expect(look2 == nil)
        let sampled = sample.take(1_095, 55)
        let taken = try #require(sampled)
        #expect(taken.all == 100 && taken.gone == 5)
        let look3 = sample.take(1_100, 55)
        #expect(look3 == nil, "the next one begins anew")
    }

    /// A silence between two looks: what it has swallowed is not counted, what was counted before it is.
    @Test func aSilenceIsLeftOut() throws {
        var sample = LossSample()
        _ = sample.take(0, 0)
        let look4 = sample.take(60, 6)
        #expect(look4 == nil)
        sample.base = nil
        let look5 = sample.take(61, 500)
        #expect(look5 == nil)
        let sampled = sample.take(95, 500)
        let taken = try #require(sampled)
        #expect(taken.all == 100 && taken.gone == 6)
    }

    /// What came late is taken back from what was lost: never more than nothing.
    @Test func lateDatagramsTakeNothingAway() throws {
        var sample = LossSample()
        _ = sample.take(0, 40)
        let sampled = sample.take(120, 30)
        let taken = try #require(sampled)
        #expect(taken.all == 120 && taken.gone == 0)
    }
}

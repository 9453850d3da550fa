// What always holds of a gossip's tables, as sentences for the tests to find untrue.

import Basics

extension Gossip {
    /// - Returns: a sentence for each property that does not hold. O(everything).
    public func checkInvariants() -> [String] {
        var problems: [String] = []
        func expect(_ holds: Bool, _ sentence: String) { if !holds { problems.append(sentence) } }
        expect(owners.count <= configuration.ownerLimit, "more owners than the limit")
        expect(graves.count <= Gossip.graveLimit, "more graves than the limit")
        expect(owners[site] != nil, "we are not among the owners")
        expect(neighbourSites == neighbours.keys.sorted(), "the neighbours' list is not their table's")
        for name in owners.keys.sorted() {
            guard let owner = owners[name] else { continue }
            expect(graves[name] == nil, "\(name) is kept and buried")
            expect(owner.bytes == owner.pages.values.reduce(0) { $0 + $1.bytes.count }, "\(name)'s octets are miscounted")
            expect(owner.bytes <= configuration.byteLimit, "\(name) has more octets than the limit")
            expect(owner.pages.count <= configuration.pageLimit, "\(name) has more pages than the limit")
            for (number, page) in owner.pages {
                expect(page.owner == name && page.number == number, "\(name)'s page \(number) is another's")
            }
            var links = 0
            for (topic, fact) in owner.facts {
                let said = owner.pages[fact.page]?.facts?.contains { $0.topic == topic && $0.value == fact.value } ?? false
                expect(said, "\(name)'s page \(fact.page) does not say what is remembered of it")
                if case .link(let far) = topic {
                    links += 1
                    if case .link(let measure) = fact.value { expect(owner.links[far] == measure, "\(name)'s link is another") }
                }
            }
            expect(links == owner.links.count, "\(name) has links that it does not tell")
        }
        for (number, page) in ownPages.enumerated() {
            let bytes = page.topics.reduce(0) { sum, topic in sum + (ownFacts[topic]?.bytes ?? 0) }
            expect(bytes == page.bytes, "our page \(number) is miscounted")
            expect(page.topics.allSatisfy { ownFacts[$0]?.page == number }, "our page \(number) has facts of another page")
        }
        return problems
    }
}

// Which lane gets what: small programs that the kernel runs for each datagram and each frame (classic BPF, packet(7) and
// socket(7)). Both keep a flow in one lane, so that its frames stay in order.
//
//     datagrams   origin tag % lanes: each lane of a peer ends in one lane here, where its replay window is
//                 what is not sealed: lane 0, so that an initiation and its annex come in the order in which they were sent
//     frames      TCP: addresses and ports     other IP: addresses alone, since fragments have no ports
//                 IGMP, PIM, hop-by-hop options (MLD), ICMPv6, and what is not IP: lane 0, so that reports stay in order

import Basics

enum LaneSteering {
    /// Refuses everything.
    static let nothing = [FilterInstruction(code: 0x06, jumpTrue: 0, jumpFalse: 0, k: 0)]

    /// Takes all but frames that this machine sends: those of a group's ports are not kept out by the kernel before Linux 5.18.
    static let incoming = [
        FilterInstruction(code: 0x28, jumpTrue: 0, jumpFalse: 0, k: packetType),
        FilterInstruction(code: 0x15, jumpTrue: 1, jumpFalse: 0, k: 4),  // PACKET_OUTGOING
        FilterInstruction(code: 0x06, jumpTrue: 0, jumpFalse: 0, k: .max),
        FilterInstruction(code: 0x06, jumpTrue: 0, jumpFalse: 0, k: 0),
    ]

    /// For UDP payloads. A load beyond the end is lane 0.
    static func datagrams(lanes: Int) -> [FilterInstruction] {
        var program = Assembly()
        program.add(.loadByte(0))
        program.jump(unlessEqual: 4, to: "lane 0")  // sealed
        program.add(.loadHalf(2))
        program.add(.modulo(UInt32(lanes)))
        program.add(.giveAccumulator)
        program.label("lane 0")
        program.add(.give(0))
        return program.instructions
    }

    /// For frames, from the network header on; the kernel takes the result modulo the lanes.
    static let frames: [FilterInstruction] = {
        var program = Assembly()
        program.add(.loadWord(etherType))
        program.jump(ifEqual: 0x0800, to: "IPv4")
        program.jump(ifEqual: 0x86DD, to: "IPv6")
        program.add(.give(0))

        program.label("IPv4")
        program.add(.loadByte(9))
        program.jump(ifEqual: 2, to: "lane 0")  // IGMP
        program.jump(ifEqual: 103, to: "lane 0")  // PIM
        program.sum(words: [12, 16])
        program.add(.loadByte(9))
        program.jump(unlessEqual: 6, to: "spread")
        program.add(.loadHalf(6))
        program.jump(ifSet: 0x3FFF, to: "spread")  // a fragment
        program.add(.indexFromHeaderLength(0))
        program.add(.loadWordAtIndex(0))
        program.sumAccumulator()
        program.jump(to: "spread")

        program.label("IPv6")
        program.add(.loadByte(6))
        program.jump(ifEqual: 0, to: "lane 0")  // hop-by-hop options
        program.jump(ifEqual: 58, to: "lane 0")  // ICMPv6
        program.jump(ifEqual: 103, to: "lane 0")
        program.sum(words: [8, 12, 16, 20, 24, 28, 32, 36])
        program.add(.loadByte(6))
        program.jump(unlessEqual: 6, to: "spread")
        program.add(.loadWord(40))
        program.sumAccumulator()

        program.label("spread")
        program.add(.loadSum)
        program.add(.multiply(0x9E37_79B1))
        program.add(.shiftRight(16))
        program.add(.giveAccumulator)

        program.label("lane 0")
        program.add(.give(0))
        return program.instructions
    }()

    /// Where a load gives the EtherType (SKF_AD_OFF + SKF_AD_PROTOCOL of linux/filter.h).
    private static let etherType: UInt32 = 0xFFFF_F000
    /// And the direction (SKF_AD_OFF + SKF_AD_PKTTYPE).
    private static let packetType: UInt32 = 0xFFFF_F004
}

/// Instructions with jumps to labels further on. Cell 0 of the scratch memory holds a sum that is built by exclusive or.
private struct Assembly {
    enum Operation {
        case loadWord(UInt32)
        case loadHalf(UInt32)
        case loadByte(UInt32)
        case loadWordAtIndex(UInt32)
        case loadSum
        case indexFromHeaderLength(UInt32)
        case indexFromSum, store
        case exclusiveOrIndex
        case multiply(UInt32)
        case modulo(UInt32)
        case shiftRight(UInt32)
        case give(UInt32)
        case giveAccumulator

        /// The code and operand (linux/bpf_common.h).
        var encoded: (code: UInt16, k: UInt32) {
            switch self {
            case .loadWord(let offset): (0x20, offset)
            case .loadHalf(let offset): (0x28, offset)
            case .loadByte(let offset): (0x30, offset)
            case .loadWordAtIndex(let offset): (0x40, offset)
            case .loadSum: (0x60, 0)
            case .indexFromHeaderLength(let offset): (0xB1, offset)
            case .indexFromSum: (0x61, 0)
            case .store: (0x02, 0)
            case .exclusiveOrIndex: (0xAC, 0)
            case .multiply(let factor): (0x24, factor)
            case .modulo(let divisor): (0x94, divisor)
            case .shiftRight(let count): (0x74, count)
            case .give(let value): (0x06, value)
            case .giveAccumulator: (0x16, 0)
            }
        }
    }

    private struct Item {
        var instruction: FilterInstruction
        /// Where a jump leads, if this is one that is taken on true, on false, or always.
        var onTrue: String?
        var onFalse: String?
        var always: String?
    }

    private var items: [Item] = []
    private var labels: [String: Int] = [:]

    mutating func add(_ operation: Operation) {
        let (code, k) = operation.encoded
        items.append(Item(instruction: FilterInstruction(code: code, jumpTrue: 0, jumpFalse: 0, k: k)))
    }

    mutating func label(_ name: String) { labels[name] = items.count }

    mutating func jump(ifEqual value: UInt32, to label: String) {
        items.append(Item(instruction: FilterInstruction(code: 0x15, jumpTrue: 0, jumpFalse: 0, k: value), onTrue: label))
    }

    mutating func jump(unlessEqual value: UInt32, to label: String) {
        items.append(Item(instruction: FilterInstruction(code: 0x15, jumpTrue: 0, jumpFalse: 0, k: value), onFalse: label))
    }

    mutating func jump(ifSet mask: UInt32, to label: String) {
        items.append(Item(instruction: FilterInstruction(code: 0x45, jumpTrue: 0, jumpFalse: 0, k: mask), onTrue: label))
    }

    mutating func jump(to label: String) {
        items.append(Item(instruction: FilterInstruction(code: 0x05, jumpTrue: 0, jumpFalse: 0, k: 0), always: label))
    }

    /// Begins the sum with the words at these offsets.
    mutating func sum(words: [UInt32]) {
        for (number, offset) in words.enumerated() {
            add(.loadWord(offset))
            if number > 0 { sumAccumulator() } else { add(.store) }
        }
    }

    mutating func sumAccumulator() {
        add(.indexFromSum)
        add(.exclusiveOrIndex)
        add(.store)
    }

    /// Precondition: every label that is jumped to stands behind the jump, at most 255 instructions away.
    var instructions: [FilterInstruction] {
        items.enumerated().map { place, item in
            func distance(_ label: String) -> Int {
                guard let target = labels[label], target > place else { preconditionFailure("no label \(label) further on") }
                return target - place - 1
            }
            var instruction = item.instruction
            if let label = item.onTrue { instruction.jumpTrue = UInt8(distance(label)) }
            if let label = item.onFalse { instruction.jumpFalse = UInt8(distance(label)) }
            if let label = item.always { instruction.k = UInt32(distance(label)) }
            return instruction
        }
    }
}

// The keys about lanes, processors and offloads: what each may be, the whole text of what is wrong, and what goes together.

import Basics
import Testing

@testable import Settings

@Suite struct MachineSettingsTests {
    private func machine(_ lines: String) -> MachineTuning? { parse(minimal + lines).settings?.machine }

    @Test func defaults() {
        let machine = machine("")
        #expect(machine == MachineTuning())
        #expect(machine?.lanes == nil && machine?.laneProcessors == [] && machine?.laneWait == .sleep)
        #expect(
            machine?.settlesLanes == true && machine?.gather == .zero && machine?.wakeUp == .fast
                && machine?.bypassesQueue == false)
        #expect(machine?.segmentsDatagrams == true && machine?.joinsDatagrams == true && machine?.deliversJoined == .tcp)
        #expect(machine?.connectsPaths == false)
        #expect(machine?.user == nil && machine?.group == nil && machine?.isSandboxed == true)
    }

    @Test func everyKeyArrives() {
        let lines = [
            "lanes = 2", "lane.cpus = 3, 1", "lane.wait = poll", "cpu.wake-up = normal", "offload.send = off",
            "offload.receive = off", "offload.deliver = off", "offload.bypass-queue = on", "offload.connect = on",
            "user = causeway", "sandbox = off", "lane.settle = off", "lane.gather = 50us",
        ]
        var expected = MachineTuning()
        expected.lanes = 2
        expected.laneProcessors = [3, 1]
        expected.laneWait = .poll
        expected.wakeUp = .normal
        expected.settlesLanes = false
        expected.gather = .microseconds(50)
        expected.segmentsDatagrams = false
        expected.joinsDatagrams = false
        expected.deliversJoined = .off
        expected.bypassesQueue = true
        expected.connectsPaths = true
        expected.user = "causeway"
        expected.isSandboxed = false
        #expect(machine(lines.joined(separator: "\n")) == expected)
        for line in lines.indices {
            var others = lines
            others.remove(at: line)
            #expect(machine(others.joined(separator: "\n")) != expected, "\(lines[line])")
        }
    }

    @Test(arguments: [
        ("lanes", "auto", "auto"), ("lanes", "1", "1"), ("lanes", "8", "8"),
        ("lane.cpus", "any", "any"), ("lane.cpus", "0", "0"), ("lane.cpus", "2,3 , 1023", "2, 3, 1023"),
    ])
    func goodValues(key: String, value: String, printed: String) {
        #expect((key == "lanes" ? outcome(.laneCount, value) : outcome(.processors, value)) == printed)
    }

    @Test(arguments: [
        ("lanes = 0", 9, "lanes: \"0\" is out of range (1 to 8)"), ("lanes = 9", 9, "lanes: \"9\" is out of range (1 to 8)"),
        ("lanes = two", 9, "lanes: \"two\" is not a whole number (1 to 8)"),
        ("lane.cpus = 1024", 13, "lane.cpus: \"1024\" is out of range (such as 2, 3; or any)"),
        ("lane.cpus = 1, -1", 16, "lane.cpus: \"-1\" is not a whole number (such as 2, 3; or any)"),
        ("lane.cpus = 1, 2, 1", 19, "lane.cpus: processor 1 is listed twice"),
        ("lane.wait = spin", 13, "lane.wait: \"spin\" is not sleep or poll"),
        ("lane.wait = pol", 13, "lane.wait: \"pol\" is not sleep or poll (did you mean poll?)"),
        ("cpu.wake-up = off", 15, "cpu.wake-up: \"off\" is not fast or normal"),
        ("offload.send = no way", 16, "offload.send: \"no way\" is not on, off, yes or no"),
        ("offload.receive = 1", 19, "offload.receive: \"1\" is not on, off, yes or no"),
        ("offload.deliver = true", 19, "offload.deliver: \"true\" is not tcp, all or off"),
        ("offload.bypass-queue = onn", 24, "offload.bypass-queue: \"onn\" is not on, off, yes or no (did you mean on?)"),
        ("cipher.backend = boring", 18, "cipher.backend: \"boring\" is not auto, sodium or openssl"),
    ])
    func badValues(line: String, column: Int, says: String) {
        #expect(problems(adding: line) == ["gw.conf:6:\(column): \(says)"])
    }

    @Test func aGroupNeedsAUser() {
        let set = machine("user = 1234\ngroup = netops")
        #expect(set?.user == "1234" && set?.group == "netops")
        #expect(
            problems(adding: "group = netops") == [
                "gw.conf:6:9: group: there is no user (set user as well, such as user = causeway)"
            ])
    }

    // MARK: What goes together

    @Test func onlyPacketPortsAreShared() {
        let tap = "port.lan1.kind = tap\nport.lan1.device = t0\n"
        #expect(
            problems(adding: tap + "lanes = 2") == [
                "gw.conf:8:9: lanes: 2 lanes cannot share the port lan1 (only ports of kind packet can be shared)"
            ])
        #expect(problems(adding: "port.lan1.kind = pcap\nport.lan1.device = e\nlanes = 3").count == 1)
        #expect(
            problems(adding: tap + "lane.gather = 50us") == [
                "gw.conf:8:15: lane.gather: frames of the port lan1 cannot gather (only ports of kind packet have room for them)"
            ])
        #expect(problems(adding: "lane.gather = 50us") == [] && problems(adding: tap + "lane.gather = 0s") == [])
        #expect(problems(adding: tap + "lanes = 1") == [] && problems(adding: tap + "lanes = auto") == [])
        #expect(problems(adding: "port.lan1.kind = packet\nport.lan1.device = eth2\nlanes = 8") == [])
    }

    @Test func thereIsOneProcessorForEachLane() {
        #expect(problems(adding: "lanes = 2\nlane.cpus = 0, 1") == [] && problems(adding: "lanes = 3\nlane.cpus = any") == [])
        #expect(
            problems(adding: "lanes = 2\nlane.cpus = 5") == [
                "gw.conf:7:13: lane.cpus: 1 processors for 2 lanes (one for each lane)"
            ])
        for line in ["", "lanes = auto\n"] {
            #expect(
                problems(adding: line + "lane.cpus = 2, 3").map { String($0.drop { $0 != " " }) } == [
                    " lane.cpus: there is one for each lane (set lanes = 2)"
                ])
        }
    }

    @Test func automaticIsHalfTheProcessorsUpToFour() {
        let tuning = MachineTuning()
        let counts = [1, 2, 3, 4, 5, 6, 7, 8, 9, 64].map { tuning.laneCount(processors: $0, ports: [.packet, .packet]) }
        #expect(counts == [1, 1, 1, 2, 2, 3, 3, 4, 4, 4])
        #expect(tuning.laneCount(processors: 64, ports: [.packet, .tap]) == 1)
        #expect(tuning.laneCount(processors: 64, ports: [.pcap]) == 1)
        var set = MachineTuning()
        set.lanes = 8
        #expect(set.laneCount(processors: 1, ports: [.packet]) == 8)
    }

    @Test(arguments: [
        "lanes = 2", "lane.cpus = 1", "lane.wait = poll", "lane.settle = on", "lane.gather = 1us", "cpu.wake-up = fast",
        "offload.send = on",
    ])
    func aReplayHasNoSuchKeys(line: String) {
        let text = "sites = a, b\nsite.a.port.lan0.capture = x.pcap\nsite.a.set." + line
        #expect(problems(ofScenario: text).count == 1)
    }
}

// From a configuration's octets to settings: reads the keys, then looks at what no single value shows, such as two ports on
// one interface. What needs a look at the machine (key files, devices, filters) is the caller's, who finds here what to look
// at and a diagnostic at the right place.

import Basics

/// What a configuration says, and everything that is wrong with it.
public struct ParsedSettings: Sendable {
    /// `nil` if and only if there are diagnostics.
    public let settings: GatewaySettings?
    /// Sorted by place. Each of them is an error.
    public let diagnostics: [Diagnostic]
    /// Sorted by place. What is legal and hardly meant.
    public let warnings: [Diagnostic]
    /// The resolved path of the private key's file, even where other keys are wrong.
    public let keyFile: String?
    /// The resolved path of the shared key's file, even where other keys are wrong.
    public let pskFile: String?
    /// The ports that are complete, even where other keys are wrong; sorted by name.
    public let ports: [PortSettings]
    /// The peers that are complete, even where other keys are wrong; sorted by name.
    public let peers: [PeerSettings]
    private let sources: SourceMap

    /// A problem that the caller found with what a key names: at the key's value; for a key that is not in the file, at the
    /// first key about the same thing, or at line 1, column 1.
    public func diagnostic(at key: String, _ message: String, hint: String? = nil) -> Diagnostic {
        sources.diagnostic(at: key, message, hint: hint)
    }

    fileprivate init(_ check: GatewayCheck) {
        diagnostics = check.reading.diagnostics.sorted()
        warnings = check.warnings.sorted()
        keyFile = check.keyFile
        pskFile = check.pskFile
        ports = check.ports
        peers = check.peers
        sources = SourceMap(check.reading.document)
        settings = diagnostics.isEmpty ? check.settings : nil
    }
}

extension GatewaySettings {
    /// Reads a configuration. Relative paths in it are resolved beside `file`.
    public static func parse(_ bytes: [UInt8], file: String) -> ParsedSettings {
        var draft = GatewayDraft()
        let reading = keys.read(SettingsDocument(bytes, file: file), into: &draft)
        var check = GatewayCheck(draft: draft, reading: reading)
        check.run()
        return ParsedSettings(check)
    }
}

/// A configuration whose keys have been read, on its way to settings.
private struct GatewayCheck {
    let draft: GatewayDraft
    var reading: KeyReading
    var warnings: [Diagnostic] = []

    mutating func run() {
        checkControlSocket()
        checkPorts()
        checkPeers()
        checkMesh()
        checkTuning()
        checkLanes()
        checkUser()
    }

    // MARK: - What is complete

    var keyFile: String? { draft.keyFile.map(resolved) }
    var pskFile: String? { draft.pskFile.map(resolved) }

    var ports: [PortSettings] {
        draft.ports.keys.sorted().compactMap { name in
            guard let port = draft.ports[name], let kind = port.kind, let device = port.device else { return nil }
            return PortSettings(name: name, kind: kind, device: device, filter: port.filter, multicast: port.multicast)
        }
    }

    var peers: [PeerSettings] {
        draft.peers.keys.sorted().compactMap { name in
            guard let peer = draft.peers[name], let key = peer.key else { return nil }
            return PeerSettings(name: name, key: key, addresses: peer.addresses, rate: peer.rate)
        }
    }

    var mesh: MeshSettings? {
        guard let authority = draft.mesh.authority, let pass = draft.mesh.passFile, let site = draft.site else { return nil }
        let seeds = draft.peers.keys.sorted().compactMap { name -> MeshSettings.Seed? in
            guard let peer = draft.peers[name], peer.key == nil, !peer.addresses.isEmpty else { return nil }
            return MeshSettings.Seed(name: name, addresses: peer.addresses)
        }
        return MeshSettings(
            authority: authority.bytes, passFile: resolved(pass),
            stateFile: draft.mesh.stateFile.map(resolved) ?? "/var/lib/causeway/\(site).mesh",
            addresses: draft.mesh.addresses.compactMap(\.endpoint), siteLimit: draft.mesh.siteLimit,
            linkLimit: draft.mesh.linkLimit, copyCost: draft.mesh.copyCost, seeds: seeds)
    }

    /// Complete if there are no diagnostics: every required key is then there.
    var settings: GatewaySettings? {
        guard let site = draft.site, let keyFile, let listen = draft.listen, let controlSocket else { return nil }
        return GatewaySettings(
            site: site, keyFile: keyFile, listen: listen, controlSocket: controlSocket, ports: ports, peers: peers, mesh: mesh,
            pskFile: pskFile, tuning: draft.tuning, machine: draft.machine, logLevel: draft.logLevel,
            auditFile: draft.auditFile.map(resolved), peersFile: draft.peersFile.map(resolved))
    }

    private var controlSocket: String? {
        draft.controlSocket.map(resolved) ?? draft.site.map { "/run/causeway/\($0).sock" }
    }

    private func resolved(_ path: String) -> String { resolve(path: path, besideFile: reading.document.file) }

    // MARK: - Checks

    /// `sun_path` has 108 octets with its end (unix(7)).
    private mutating func checkControlSocket() {
        let longest = 107
        guard let length = controlSocket?.utf8.count, length > longest else { return }
        reading.report(at: "control.socket", "control.socket: the path has \(length) octets", hint: "at most \(longest)")
    }

    private mutating func checkPorts() {
        let names = reading.names(under: "port.NAME.", at: 0)
        if names.isEmpty && reading.meant.allSatisfy({ !$0.hasPrefix("port.") }) {
            let hint = "such as port.lan0.kind = packet and port.lan0.device = eth1"
            reading.report(at: "port", "there is no port", hint: hint)
        }
        checkCount(of: "port", names, limit: Limits.ports)
        var lineOfDevice: [String: Int] = [:]
        for match in applied("port.NAME.device") {
            let name = match.names[0].text
            guard let port = draft.ports[name], let device = port.device else { continue }
            if let line = lineOfDevice[device] {
                let message = "\(match.entry.key): \(quoted(device)) is already the device of another port"
                reading.report(at: match.entry.key, message, hint: "see line \(line)")
            }
            lineOfDevice[device] = lineOfDevice[device] ?? match.entry.line
            if let kind = port.kind, kind != .pcap, let problem = problem(ofDevice: device) {
                reading.report(at: match.entry.key, "\(match.entry.key): \(problem.message)", hint: problem.hint)
            }
        }
    }

    private mutating func checkPeers() {
        let names = reading.names(under: "peer.NAME.", at: 0)
        // The first of a mesh is asked for the way in by the others.
        if names.isEmpty && draft.mesh.authority == nil && reading.meant.allSatisfy({ !$0.hasPrefix("peer.") }) {
            let hint = "such as peer.nyc.key = BASE64"
            warnings.append(
                SourceMap(reading.document).diagnostic(at: "peer", "there is no peer: no frame leaves the site", hint: hint))
        }
        checkCount(of: "peer", names, limit: Limits.peers)
        for name in names where name.text == draft.site {
            guard let match = firstMatch(of: name, under: "peer.NAME.") else { continue }
            let hint = "a peer has the name of its own site"
            reading.report(match.entry.line, name.column, "the peer \(quoted(name.text)) has this site's name", hint: hint)
        }
        for name in names where draft.peers[name.text]?.key == nil && !reading.refused.contains("peer.\(name.text).key") {
            checkSeed(name.text)
        }
        var lineOfKey: [PublicKey: Int] = [:]
        for match in applied("peer.NAME.key") {
            guard let key = draft.peers[match.names[0].text]?.key else { continue }
            if let line = lineOfKey[key] {
                let message = "\(match.entry.key): this is already the key of another peer"
                reading.report(at: match.entry.key, message, hint: "see line \(line)")
            }
            lineOfKey[key] = lineOfKey[key] ?? match.entry.line
        }
    }

    /// A peer without a key is some member of the mesh, whose address alone is known.
    private mutating func checkSeed(_ name: String) {
        let key = "peer.\(name).key"
        if !reading.meant.contains("mesh.authority") && draft.mesh.authority == nil {
            guard !reading.meant.contains(key) else { return }
            reading.report(at: key, "missing key \(key)", hint: "such as \(key) = \(GatewaySettings.exampleKey)")
        } else if draft.peers[name]?.addresses.isEmpty ?? true, !reading.refused.contains("peer.\(name).address") {
            reading.report(
                at: key, "peer.\(name) has neither a key nor an address",
                hint: "a key for a peer without a pass, an address for a member of the mesh")
        } else if draft.peers[name]?.rate != nil {
            reading.report(
                at: "peer.\(name).rate", "peer.\(name).rate: whose rate it is is not known without a key",
                hint: "set peer.\(name).key as well")
        }
    }

    private mutating func checkMesh() {
        let mesh = draft.mesh
        if mesh.authority == nil, let key = meshKeys.first, !reading.refused.contains("mesh.authority") {
            reading.report(at: key, "\(key): there is no mesh.authority", hint: "causeway mesh create prints it")
        }
        if mesh.authority != nil && mesh.passFile == nil && !reading.refused.contains("pass.file") {
            reading.report(
                at: "mesh.authority", "mesh.authority: this gateway has no pass",
                hint: "set pass.file, such as pass.file = \(draft.site ?? "london").pass")
        }
        if let name = mesh.addresses.first(where: { $0.endpoint == nil }) {
            reading.report(
                at: "mesh.address", "mesh.address: \(quoted(name.host)) is no address", hint: "the others do not look names up")
        }
        let keyed = peers.count
        if mesh.authority != nil && keyed >= mesh.siteLimit {
            reading.report(
                at: "mesh.sites", "mesh.sites: \(keyed) peers with keys leave no room for members",
                hint: "at most \(Limits.peers)")
        }
    }

    /// Keys that mean something in a mesh only, as far as they are there.
    private var meshKeys: [String] {
        reading.matches.filter { $0.outcome == .applied }.map(\.pattern)
            .filter { ["pass.file", "mesh.address"].contains($0) }
    }

    private mutating func checkTuning() {
        var check = TuningCheck(draft.tuning, keysUnder: "", reading)
        check.run()
        reading.diagnostics += check.errors
        warnings += check.warnings
    }

    private mutating func checkLanes() {
        let (lanes, processors) = (draft.machine.lanes, draft.machine.laneProcessors)
        let others = draft.ports.keys.sorted().filter { draft.ports[$0]?.kind ?? .packet != .packet }
        if let lanes, lanes > 1, let name = others.first {
            let message = "lanes: \(lanes) lanes cannot share the port \(name)"
            reading.report(at: "lanes", message, hint: "only ports of kind packet can be shared")
        }
        if draft.machine.gather > .zero, let name = others.first {
            let message = "lane.gather: frames of the port \(name) cannot gather"
            reading.report(at: "lane.gather", message, hint: "only ports of kind packet have room for them")
        }
        guard !processors.isEmpty else { return }
        if lanes == nil {
            reading.report(at: "lane.cpus", "lane.cpus: there is one for each lane", hint: "set lanes = \(processors.count)")
        } else if let lanes, lanes != processors.count {
            reading.report(
                at: "lane.cpus", "lane.cpus: \(processors.count) processors for \(lanes) lanes", hint: "one for each lane")
        }
    }

    private mutating func checkUser() {
        guard draft.machine.group != nil, draft.machine.user == nil else { return }
        reading.report(at: "group", "group: there is no user", hint: "set user as well, such as user = causeway")
    }

    private mutating func checkCount(of what: String, _ names: [KeyName], limit: Int) {
        guard names.count > limit, let match = firstMatch(of: names[limit], under: "\(what).NAME.") else { return }
        reading.report(match.entry.line, names[limit].column, "there are \(names.count) \(what)s", hint: "at most \(limit)")
    }

    private func firstMatch(of name: KeyName, under prefix: String) -> KeyMatch? {
        reading.matches.first { $0.pattern.hasPrefix(prefix) && $0.names.first?.text == name.text }
    }

    private func applied(_ pattern: String) -> [KeyMatch] {
        reading.matches.filter { $0.pattern == pattern && $0.outcome == .applied }
    }
}

// audit.file: where it is looked for, and that a scenario cannot set it.

import Testing

@testable import Settings

@Suite struct AuditSettingsTests {
    @Test func noneByDefault() {
        #expect(parse(minimal).settings.map(\.auditFile) == .some(nil))
    }

    @Test(arguments: [
        ("audit.log", "etc/gw.conf", "etc/audit.log"), ("audit.log", "gw.conf", "audit.log"),
        ("/var/log/audit.log", "etc/gw.conf", "/var/log/audit.log"),
    ])
    func relativeToTheConfiguration(value: String, file: String, path: String) {
        #expect(parse(minimal + "audit.file = \(value)", file: file).settings?.auditFile == path)
    }

    @Test func aPathIsNeeded() {
        #expect(problems(adding: "audit.file =").count == 1)
        #expect(problems(adding: "audit.file = a\naudit.file = b").count == 1)
    }

    @Test func notInAReplay() {
        let parsed = ReplayScenario.parse(Array("sites = a b\nsite.a.set.audit.file = x".utf8), file: "s")
        #expect(
            parsed.diagnostics.contains {
                $0.description.contains("audit.file cannot be set in a replay (a replay writes no audit)")
            })
    }
}

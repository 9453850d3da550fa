// What the tests of this target share: short ways to parse a text.

import Basics

@testable import Settings

/// A configuration that has nothing wrong, to which tests add lines.
let minimal = """
    site = london
    key.file = london.key
    listen = 0.0.0.0:7117
    port.lan0.kind = packet
    port.lan0.device = eth1

    """

/// Placeholder keys, each 32 octets of one value.
func key(_ octet: UInt8) -> PublicKey { PublicKey(bytes: Array(repeating: octet, count: 32))! }

func parse(_ text: String, file: String = "gw.conf") -> ParsedSettings { GatewaySettings.parse(Array(text.utf8), file: file) }

/// The diagnostics of a configuration that consists of `minimal` and these lines; the first of them is line 6.
func problems(adding lines: String) -> [String] { parse(minimal + lines).diagnostics.map(\.description) }

/// The diagnostics of a scenario.
func problems(ofScenario text: String) -> [String] {
    ReplayScenario.parse(Array(text.utf8), file: "s").diagnostics.map(\.description)
}

func scenario(_ text: String, file: String = "s") -> ReplayScenario? {
    ReplayScenario.parse(Array(text.utf8), file: file).scenario
}

/// What a value type says of a text: the printed value, or the message with its hint.
func outcome<Value>(_ type: ValueType<Value>, _ text: String) -> String {
    do throws(ValueProblem) {
        return type.print(try type.parse(text))
    } catch {
        return error.message + (error.hint.map { " (\($0))" } ?? "")
    }
}

// Every file of the project's collection of captures, against what its manifest says of it. The collection is beside the
// checkout, not in it; without it these tests are skipped.

import Captures
import Testing

/// One line of MANIFEST.tsv, and what follows from it for the reader.
struct ManifestEntry: CustomTestStringConvertible, Sendable {
    let file: String
    let format: String
    let linkType: String
    let packets: Int
    /// Of the frames' original lengths.
    let minimumLength: Int?
    let maximumLength: Int?
    /// From the earliest timestamp to the latest, in seconds.
    let duration: Double?
    let anomalies: String

    var testDescription: String { file }

    enum Expectation: Equatable {
        /// Every frame, and no error.
        case whole
        /// This many frames, then an error of this kind; the error is about the next frame, or about the file before any.
        case error(CaptureError.Kind, after: Int, namesFrame: Bool)
        /// At most the frames in the manifest, then an error about link types.
        case notAllEthernet
    }

    var expectation: Expectation {
        if let named = Self.named[file] { return named }
        if format.hasPrefix("not pcap") || linkType == "-" { return .error(.notACapture, after: 0, namesFrame: false) }
        if linkType.contains(",") { return .notAllEthernet }
        if linkType != "Ethernet(1)" { return .error(.linkType, after: 0, namesFrame: false) }
        if anomalies.contains("reader error") { return .error(.damaged, after: packets, namesFrame: true) }
        return .whole
    }

    /// Files whose formats libpcap does not read, though the manifest's maker did.
    static let named: [String: Expectation] = [
        "fmt_pcap_invalid_version1_libpcap.pcap": .error(.notACapture, after: 0, namesFrame: false),
        "fmt_pcapng_invalid_vers1_libpcap.pcapng": .error(.notACapture, after: 0, namesFrame: false),
        // The second section claims version 2.0.
        "fmt_pcapng_le_test901_gopacket.pcapng": .error(.damaged, after: 1, namesFrame: true),
    ]

    var cutFrames: Int {
        guard let part = anomalies.split(separator: ";").first(where: { $0.contains("frames cut by snaplen") }) else { return 0 }
        return part.split(separator: " ").first.flatMap { Int($0) } ?? 0
    }
}

enum Collection {
    static let directory: String = {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        return "/\(root)/../shared/captures"
    }()

    static let entries: [ManifestEntry] = {
        let text = String(decoding: contents(of: "\(directory)/MANIFEST.tsv"), as: UTF8.self)
        let lines = text.split(separator: "\n").map { line in
            line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        }
        guard let header = lines.first else { return [] }
        func column(_ name: String) -> Int { header.firstIndex(of: name)! }
        let (file, format, link, packets) = (column("file"), column("format"), column("link type"), column("packets"))
        let (least, most, duration) = (column("min frame"), column("max frame"), column("duration s"))
        let anomalies = column("anomalies")
        return lines.dropFirst().map { line in
            ManifestEntry(
                file: line[file], format: line[format], linkType: line[link], packets: Int(line[packets]) ?? 0,
                minimumLength: Int(line[least]), maximumLength: Int(line[most]), duration: Double(line[duration]),
                anomalies: line[anomalies])
        }
    }()
}

@Suite("Shared captures", .enabled(if: !Collection.entries.isEmpty, "../shared/captures is not beside this checkout"))
struct SharedCapturesTests {
    @Test(arguments: Collection.entries)
    func asInTheManifest(entry: ManifestEntry) {
        let path = "\(Collection.directory)/\(entry.file)"
        let (frames, error) = readAll(path)
        #expect(frames.map(\.number) == Array(1..<frames.count + 1))
        if let error { #expect(error.subject == path) }
        switch entry.expectation {
        case .error(let kind, let count, let namesFrame):
            #expect(error?.kind == kind)
            #expect(frames.count == count)
            #expect(error?.frame == (namesFrame ? count + 1 : nil))
        case .notAllEthernet:
            #expect(error?.kind == .linkType)
            #expect(frames.count < entry.packets)
        case .whole:
            #expect(error == nil)
            #expect(frames.count == entry.packets)
        }
        // What was delivered before an error is not the whole of what the manifest describes, except before damage.
        if entry.expectation == .whole || entry.anomalies.contains("reader error") { compare(frames, with: entry) }
    }

    private func compare(_ frames: [CapturedFrame], with entry: ManifestEntry) {
        let lengths = frames.map(\.originalLength)
        #expect(lengths.min() == entry.minimumLength)
        #expect(lengths.max() == entry.maximumLength)
        #expect(frames.count { $0.isTruncated } == entry.cutFrames)
        #expect(frames.contains { $0.bytes.count > $0.originalLength } == entry.anomalies.contains("caplen>len"))

        let times = frames.map(\.timestamp)
        let stepsBack = zip(times, times.dropFirst()).contains { $0 > $1 }
        #expect(stepsBack == entry.anomalies.contains("timestamps not monotonic"))
        if let first = times.min(), let last = times.max(), let duration = entry.duration {
            #expect(abs(Double(last - first) / 1e9 - duration) < 1e-5)
        }
    }

    /// Frames longer than their file's snapshot length, which libpcap alone cuts.
    @Test func jumboFramesAreWhole() {
        let (frames, _) = readAll("\(Collection.directory)/jumbo_udp_605_8995_trex.pcap")
        #expect(frames.map(\.bytes.count).max() == 8_995)
        #expect(frames.allSatisfy { !$0.isTruncated })
    }
}

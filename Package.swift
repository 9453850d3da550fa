// swift-tools-version: 6.2
import PackageDescription

/// What every Swift target of Causeway is compiled with.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableExperimentalFeature("Lifetimes"),
    .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
]

let package = Package(
    name: "causeway",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.14.0"),
        .package(url: "https://github.com/ordo-one/TextTable", from: "0.0.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CPcap", pkgConfig: "libpcap", providers: [.apt(["libpcap-dev"])]),
        // A header alone, nothing of the system's: hints for the processor.
        .systemLibrary(name: "CHints"),
        .target(name: "CLinux"),

        // Pure: no I/O, no clock, no randomness.
        .target(name: "Basics", swiftSettings: strict),
        .target(name: "Buffers", dependencies: ["Basics", "CHints"], swiftSettings: strict),
        .target(name: "Wire", dependencies: ["Basics"], swiftSettings: strict),
        .target(
            name: "Switching",
            dependencies: ["Basics", "Buffers", "Wire", .product(name: "HeapModule", package: "swift-collections")],
            swiftSettings: strict),
        .target(
            name: "Tunnels",
            dependencies: ["Basics", "Buffers", "COpenSSL", "CSodium", .product(name: "Crypto", package: "swift-crypto")],
            swiftSettings: strict),
        .target(
            name: "Mesh", dependencies: ["Basics", "CSodium", .product(name: "HeapModule", package: "swift-collections")],
            swiftSettings: strict),
        .target(name: "Settings", dependencies: ["Basics"], swiftSettings: strict),
        .target(
            name: "Gateway", dependencies: ["Basics", "Buffers", "Wire", "Switching", "Tunnels", "Mesh", "Settings"],
            swiftSettings: strict),
        .target(name: "Captures", dependencies: ["Basics", "Buffers", "CPcap"], swiftSettings: strict),
        .target(
            name: "Simulation",
            dependencies: [
                "Basics", "Buffers", "Tunnels", "Mesh", "Settings", "Gateway", "Captures",
                .product(name: "HeapModule", package: "swift-collections"),
            ],
            swiftSettings: strict),
        .target(name: "LinuxIO", dependencies: ["Basics", "Buffers", "Wire", "CLinux"], swiftSettings: strict),
        .target(
            name: "Operator",
            dependencies: [
                "Basics", "Wire", "Switching", "Tunnels", "Mesh", "Settings", "Gateway",
                .product(name: "TextTable", package: "TextTable"),
            ], swiftSettings: strict),
        .target(
            name: "Daemon",
            dependencies: [
                "Basics", "Buffers", "Switching", "Tunnels", "Mesh", "Settings", "Gateway", "Captures", "LinuxIO", "Operator",
                .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "causeway",
            dependencies: [
                "Basics", "Tunnels", "Mesh", "Settings", "Gateway", "Captures", "LinuxIO", "Operator", "Daemon", "Simulation",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "TextTable", package: "TextTable"),
            ],
            swiftSettings: strict),

        // A benchmark, run by tools/bench-multicast.
        .executableTarget(
            name: "multicast-scale",
            dependencies: ["Basics", "Buffers", "Wire", "Switching", "Tunnels", "Settings", "Gateway", "LinuxIO"],
            path: "tools/multicast-scale", swiftSettings: strict),
        // Another, run by tools/bench-fastpath, and by CommandTests for its count of allocations.
        .target(name: "CAllocations", path: "tools/fastpath-bench/CAllocations"),
        .executableTarget(
            name: "fastpath-bench",
            dependencies: ["Basics", "Buffers", "Wire", "Switching", "Tunnels", "Gateway", "LinuxIO", "CAllocations"],
            path: "tools/fastpath-bench/Sources", swiftSettings: strict),

        .testTarget(name: "BasicsTests", dependencies: ["Basics"], swiftSettings: strict),
        .testTarget(name: "BuffersTests", dependencies: ["Basics", "Buffers"], swiftSettings: strict),
        .testTarget(name: "WireTests", dependencies: ["Basics", "Wire"], swiftSettings: strict),
        .testTarget(name: "SwitchingTests", dependencies: ["Basics", "Buffers", "Wire", "Switching"], swiftSettings: strict),
        .testTarget(name: "TunnelsTests", dependencies: ["Basics", "Buffers", "Tunnels"], swiftSettings: strict),
        .testTarget(name: "MeshTests", dependencies: ["Basics", "Mesh"], swiftSettings: strict),
        .testTarget(name: "SettingsTests", dependencies: ["Settings"], swiftSettings: strict),
        .testTarget(
            name: "GatewayTests",
            dependencies: ["Basics", "Buffers", "Wire", "Switching", "Tunnels", "Mesh", "Settings", "Gateway"],
            swiftSettings: strict),
        .testTarget(name: "CapturesTests", dependencies: ["Basics", "Buffers", "Captures", "CPcap"], swiftSettings: strict),
        .testTarget(
            name: "LinuxIOTests", dependencies: ["Basics", "Buffers", "Wire", "LinuxIO", "CLinux"], swiftSettings: strict),
        .testTarget(
            name: "SimulationTests",
            dependencies: ["Basics", "Tunnels", "Settings", "Gateway", "Captures", "Simulation"], swiftSettings: strict),
        .testTarget(
            name: "OperatorTests",
            dependencies: ["Basics", "Switching", "Tunnels", "Mesh", "Settings", "Gateway", "Operator"],
            swiftSettings: strict),
        // Black boxes: it runs the programs that are built beside it.
        .testTarget(name: "CommandTests", dependencies: ["causeway", "fastpath-bench"], swiftSettings: strict),
    ]
)

// swift-tools-version: 6.2
import PackageDescription

// The fuzzers, a package of their own so that nothing of them is in the gateway's. The code under test is compiled here anew,
// through symbolic links to the gateway's sources, because it has to be instrumented, and because the gateway's package has no
// library products, nor should it get any for this. tools/fuzz/run builds it: it wants `--sanitize fuzzer`.

/// As in the gateway's Package.swift.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableExperimentalFeature("Lifetimes"),
    .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
]

let package = Package(
    name: "fuzz",
    dependencies: [
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
    ],
    targets: [
        .target(name: "Basics", swiftSettings: strict),
        .systemLibrary(name: "CHints"),
        .target(name: "Buffers", dependencies: ["Basics", "CHints"], swiftSettings: strict),
        .target(name: "Wire", dependencies: ["Basics"], swiftSettings: strict),
        .target(
            name: "Switching",
            dependencies: ["Basics", "Buffers", "Wire", .product(name: "HeapModule", package: "swift-collections")],
            swiftSettings: strict),
        // What each fuzzer does with an input: Tests/SwitchingTests/Fuzz, where the tests run the corpora through it.
        .target(name: "FuzzBodies", dependencies: ["Basics", "Buffers", "Wire", "Switching"], swiftSettings: strict),
        .executableTarget(name: "FuzzIGMP", dependencies: ["FuzzBodies"], swiftSettings: strict),
        .executableTarget(name: "FuzzMLD", dependencies: ["FuzzBodies"], swiftSettings: strict),
        .executableTarget(name: "FuzzSnooper", dependencies: ["FuzzBodies"], swiftSettings: strict),

        .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
        .target(
            name: "Mesh", dependencies: ["Basics", "CSodium", .product(name: "HeapModule", package: "swift-collections")],
            swiftSettings: strict),
        // Tests/MeshTests/Fuzz.
        .target(name: "MeshFuzzBodies", dependencies: ["Basics", "Mesh"], swiftSettings: strict),
        .executableTarget(name: "FuzzPass", dependencies: ["MeshFuzzBodies"], swiftSettings: strict),
        .executableTarget(name: "FuzzGossip", dependencies: ["MeshFuzzBodies"], swiftSettings: strict),
        .executableTarget(name: "FuzzTree", dependencies: ["MeshFuzzBodies"], swiftSettings: strict),

        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .target(
            name: "Tunnels",
            dependencies: ["Basics", "Buffers", "COpenSSL", "CSodium", .product(name: "Crypto", package: "swift-crypto")],
            swiftSettings: strict),
        .target(name: "Settings", dependencies: ["Basics"], swiftSettings: strict),
        .target(
            name: "Gateway", dependencies: ["Basics", "Buffers", "Wire", "Switching", "Tunnels", "Settings"],
            swiftSettings: strict),
        // Tests/GatewayTests/Fuzz.
        .target(
            name: "GatewayFuzzBodies", dependencies: ["Basics", "Buffers", "Switching", "Tunnels", "Gateway"],
            swiftSettings: strict),
        .executableTarget(name: "FuzzHandshake", dependencies: ["GatewayFuzzBodies"], swiftSettings: strict),
        .executableTarget(name: "FuzzAgreement", dependencies: ["GatewayFuzzBodies"], swiftSettings: strict),
        .executableTarget(name: "FuzzRecords", dependencies: ["GatewayFuzzBodies"], swiftSettings: strict),
        .executableTarget(name: "FuzzChannel", dependencies: ["GatewayFuzzBodies"], swiftSettings: strict),
        .executableTarget(name: "FuzzFacts", dependencies: ["GatewayFuzzBodies"], swiftSettings: strict),
        .executableTarget(name: "FuzzLane", dependencies: ["GatewayFuzzBodies"], swiftSettings: strict),
    ]
)

// The entry point that libFuzzer calls with each input; it brings `main` itself.

import GatewayFuzzBodies

@c(LLVMFuzzerTestOneInput)
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // SAFETY: libFuzzer lends `count` octets for the length of the call.
    let input = unsafe [UInt8](UnsafeBufferPointer(start: data, count: count))
    let problems = GatewayFuzzBody.records.run(input)
    if !problems.isEmpty { fatalError(problems.joined(separator: "\n")) }
    return 0
}

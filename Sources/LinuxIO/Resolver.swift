// Names to endpoints, by the C library's resolver.

import Basics
import CLinux
import Glibc

/// The endpoints of a host name or a literal address, both families, in the resolver's order (RFC 6724), each once.
///
/// Blocks for as long as the resolver takes (many seconds when no name server answers): never call it from a lane.
public func resolve(host: String, port: UInt16) throws(IOError) -> [Endpoint] {
    // SAFETY: all pointers of the hints are null.
    var hints = unsafe addrinfo()
    unsafe hints.ai_family = AF_UNSPEC
    unsafe hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    // SAFETY: `list` is set by the call if it works, and freed below.
    let status = unsafe getaddrinfo(host, nil, &hints, &list)
    let code = errno
    guard status == 0 else {
        // SAFETY: the text is a constant of the C library.
        let text = unsafe String(cString: gai_strerror(status))
        throw IOError(
            operation: "resolve the name", subject: host, code: status == EAI_SYSTEM ? code : 0,
            advice: status == EAI_SYSTEM ? "" : text)
    }
    defer { unsafe freeaddrinfo(list) }

    var endpoints: [Endpoint] = []
    var next = unsafe list
    while let entry = unsafe next {
        unsafe next = entry.pointee.ai_next
        var address = cwl_address()
        let length = unsafe min(Int(entry.pointee.ai_addrlen), MemoryLayout<cwl_address>.size)
        // SAFETY: the entry has `ai_addrlen` octets of address, and no more than fit are copied.
        unsafe withUnsafeMutableBytes(of: &address) { room in
            if let from = unsafe entry.pointee.ai_addr {
                unsafe room.copyMemory(from: UnsafeRawBufferPointer(start: from, count: length))
            }
        }
        guard let found = Endpoint(address) else { continue }
        let endpoint = Endpoint(high: found.high, low: found.low, port: port, scope: found.scope)
        if !endpoints.contains(endpoint) { endpoints.append(endpoint) }
    }
    return endpoints
}

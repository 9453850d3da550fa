// Network devices by name: what an ioctl tells about one, and the rules for names.

import Basics
import CLinux
import Glibc

/// True when a network device of that name exists in this process's network namespace.
public func interfaceExists(_ name: String) -> Bool {
    guard Device.isValidName(name), let socket = Device.openQuery() else { return false }
    // SAFETY: the name is copied during the call.
    return unsafe cwl_device_index(socket.raw, name) > 0
}

/// The MAC address of the Ethernet device of that name; `nil` where there is none.
public func interfaceAddress(_ name: String) -> MACAddress? {
    guard Device.isValidName(name), let socket = Device.openQuery() else { return nil }
    return try? Device.macAddress(socket.raw, name)
}

/// The calls on a device by its name. `descriptor` is any socket: it only says which network namespace is meant.
enum Device {
    /// Linux allows 1 to 15 octets; `/`, `:` and spaces are refused by the kernel, and `%` makes a pattern of the name.
    static func isValidName(_ name: String) -> Bool {
        let octets = name.utf8
        guard (1...15).contains(octets.count), name != ".", name != ".." else { return false }
        return octets.allSatisfy { $0 > 0x20 && $0 != 0x7F && !"/:%".utf8.contains($0) }
    }

    static func checkName(_ name: String) throws(IOError) {
        if isValidName(name) { return }
        throw IOError(
            operation: "use the device", subject: name, code: 0,
            advice: "a device name has 1 to 15 octets without spaces, '/', ':' and '%'")
    }

    static func openQuery() -> OwnedDescriptor? {
        let socket = cwl_device_socket()
        return socket < 0 ? nil : OwnedDescriptor(socket)
    }

    static func index(_ descriptor: Int32, _ name: String) throws(IOError) -> Int32 {
        // SAFETY: the name is copied during the call.
        let result = unsafe cwl_device_index(descriptor, name)
        try check(result, "find the device", name) { code in
            code == ENODEV ? "`ip link` lists the devices there are" : IOError.generalAdvice(code)
        }
        return Int32(truncatingIfNeeded: result)
    }

    /// The MAC address; an error unless the device is Ethernet.
    static func macAddress(_ descriptor: Int32, _ name: String) throws(IOError) -> MACAddress {
        var octets: (UInt64) = 0
        // SAFETY: six octets are written to the eight of `octets`.
        let type = unsafe withUnsafeMutableBytes(of: &octets) { room in
            unsafe cwl_device_address(descriptor, name, room.baseAddress?.assumingMemoryBound(to: UInt8.self))
        }
        try check(type, "read the MAC address", name)
        guard type == cwl_type_ethernet() else {
            throw IOError(operation: "use the device", subject: name, code: 0, advice: "it is not an Ethernet device")
        }
        return MACAddress(rawValue: UInt64(bigEndian: octets) >> 16)
    }

    static func setMACAddress(_ descriptor: Int32, _ name: String, _ address: MACAddress) throws(IOError) {
        var octets = (address.rawValue << 16).bigEndian
        // SAFETY: six of the eight octets are read during the call.
        let result = unsafe withUnsafeBytes(of: &octets) { room in
            unsafe cwl_device_set_address(descriptor, name, room.baseAddress?.assumingMemoryBound(to: UInt8.self))
        }
        try check(result, "set the MAC address \(address)", name) { code in
            code == EADDRNOTAVAIL ? "it must be an individual address, not zero" : IOError.generalAdvice(code)
        }
    }

    /// - Parameter withLink: whether a link is needed as well. The kernel reports a new link up to a second late.
    static func isUp(_ descriptor: Int32, _ name: String, withLink: Bool) -> Bool {
        // SAFETY: the name is copied during the call.
        let flags = unsafe cwl_device_flags(descriptor, name)
        let needed = withLink ? cwl_flag_up() | cwl_flag_running() : cwl_flag_up()
        return flags >= 0 && flags & needed == needed
    }

    static func bringUp(_ descriptor: Int32, _ name: String) throws(IOError) {
        // SAFETY: the name is copied during the calls.
        let flags = try check(unsafe cwl_device_flags(descriptor, name), "read the flags", name)
        if flags & cwl_flag_up() != 0 { return }
        try check(unsafe cwl_device_set_flags(descriptor, name, flags | cwl_flag_up()), "bring up the device", name)
    }

    /// Hands a filter program to `attach` in the kernel's layout.
    static func attach(
        _ filter: [FilterInstruction], device: String, _ attach: (UnsafeRawPointer?, Int) -> Int64
    ) throws(IOError) {
        guard (1...4096).contains(filter.count) else {
            throw IOError(
                operation: "attach the filter", subject: device, code: 0,
                advice: "a filter has 1 to 4096 instructions, this one has \(filter.count)")
        }
        precondition(MemoryLayout<FilterInstruction>.stride == cwl_filter_instruction_size())
        // SAFETY: FilterInstruction has the layout of struct sock_filter (code, jt, jf, k; the size is checked above), and
        // the kernel copies the program during the call.
        let result = unsafe filter.withUnsafeBytes { program in unsafe attach(program.baseAddress, filter.count) }
        try check(result, "attach the filter", device) { code in
            code == EINVAL ? "the kernel finds the program invalid" : IOError.generalAdvice(code)
        }
    }
}

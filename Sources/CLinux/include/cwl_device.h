// Network devices by name (ioctl with struct ifreq), TAP devices, and classic BPF programs.

#ifndef CWL_DEVICE_H
#define CWL_DEVICE_H

#include "cwl_system.h"

#include <linux/filter.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>

static inline void cwl_request(struct ifreq *request, const char *name) {
    memset(request, 0, sizeof *request);
    strncpy(request->ifr_name, name, IFNAMSIZ - 1);
}

/// Any socket does: `fd` only says which network namespace is meant.
static inline int64_t cwl_device_index(int fd, const char *name) {
    struct ifreq request;
    cwl_request(&request, name);
    return ioctl(fd, SIOCGIFINDEX, &request) < 0 ? cwl_result(-1) : request.ifr_ifindex;
}

/// 0 while a device with this index exists.
static inline int64_t cwl_device_has_index(int fd, int index) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    request.ifr_ifindex = index;
    return cwl_result(ioctl(fd, SIOCGIFNAME, &request));
}

/// The hardware type (ARPHRD_…); `address` gets six octets.
static inline int64_t cwl_device_address(int fd, const char *name, uint8_t *address) {
    struct ifreq request;
    cwl_request(&request, name);
    if (ioctl(fd, SIOCGIFHWADDR, &request) < 0) return cwl_result(-1);
    memcpy(address, request.ifr_hwaddr.sa_data, 6);
    return request.ifr_hwaddr.sa_family;
}

static inline int64_t cwl_device_set_address(int fd, const char *name, const uint8_t *address) {
    struct ifreq request;
    cwl_request(&request, name);
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(request.ifr_hwaddr.sa_data, address, 6);
    return cwl_result(ioctl(fd, SIOCSIFHWADDR, &request));
}

static inline int64_t cwl_device_flags(int fd, const char *name) {
    struct ifreq request;
    cwl_request(&request, name);
    return ioctl(fd, SIOCGIFFLAGS, &request) < 0 ? cwl_result(-1) : (int64_t)(uint16_t)request.ifr_flags;
}

static inline int64_t cwl_device_set_flags(int fd, const char *name, int64_t flags) {
    struct ifreq request;
    cwl_request(&request, name);
    request.ifr_flags = (short)flags;
    return cwl_result(ioctl(fd, SIOCSIFFLAGS, &request));
}

static inline int64_t cwl_device_mtu(int fd, const char *name) {
    struct ifreq request;
    cwl_request(&request, name);
    return ioctl(fd, SIOCGIFMTU, &request) < 0 ? cwl_result(-1) : request.ifr_mtu;
}

static inline int64_t cwl_flag_up(void) { return IFF_UP; }
static inline int64_t cwl_flag_running(void) { return IFF_RUNNING; }
static inline int64_t cwl_type_ethernet(void) { return ARPHRD_ETHER; }

/// A socket to ask about devices with. Not a unix one, although that would do: with it one could speak to services of this
/// machine.
static inline int64_t cwl_device_socket(void) {
    return cwl_result(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

// ---- TAP

static inline int64_t cwl_tap_open(void) {
    return cwl_result(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
}

/// Attaches to the TAP device of that name, or creates it.
static inline int64_t cwl_tap_attach(int fd, const char *name, int multi_queue) {
    struct ifreq request;
    cwl_request(&request, name);
    request.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (multi_queue ? IFF_MULTI_QUEUE : 0));
    return cwl_result(ioctl(fd, TUNSETIFF, &request));
}

/// Has the kernel finish checksums and cut super-frames before it hands frames over.
static inline int64_t cwl_tap_clear_offload(int fd) {
    return cwl_result(ioctl(fd, TUNSETOFFLOAD, 0UL));
}

/// `program`: `count` times struct sock_filter.
static inline int64_t cwl_tap_attach_filter(int fd, const void *program, size_t count) {
    struct sock_fprog filter = {.len = (unsigned short)count, .filter = (struct sock_filter *)program};
    return cwl_result(ioctl(fd, TUNATTACHFILTER, &filter));
}

// ---- network namespaces

/// The calling thread's network namespace, as a descriptor. A namespace lives as long as something refers to it.
static inline int64_t cwl_namespace_current(void) {
    return cwl_result(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

/// Moves the calling thread, and only it, into a new network namespace; a descriptor of that.
int64_t cwl_namespace_create(void);

/// Moves the calling thread, and only it, into a network namespace.
int64_t cwl_namespace_enter(int namespace);

// ---- filters

/// `program`: `count` times struct sock_filter.
static inline int64_t cwl_attach_filter(int fd, const void *program, size_t count) {
    struct sock_fprog filter = {.len = (unsigned short)count, .filter = (struct sock_filter *)program};
    return cwl_result(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter));
}

static inline int64_t cwl_detach_filter(int fd) {
    int unused = 0;
    return cwl_result(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused));
}

#ifndef SO_ATTACH_REUSEPORT_CBPF
#define SO_ATTACH_REUSEPORT_CBPF 51
#endif

/// The program that chooses a socket among those bound to one address; it sees the UDP payload. `program`: as above.
static inline int64_t cwl_attach_reuse_filter(int fd, const void *program, size_t count) {
    struct sock_fprog filter = {.len = (unsigned short)count, .filter = (struct sock_filter *)program};
    return cwl_result(setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter, sizeof filter));
}

static inline size_t cwl_filter_instruction_size(void) {
    return sizeof(struct sock_filter);
}

#endif

// Scatter lists of messages (sendmmsg, recvmmsg), UDP sockets with their segmentation control messages, and addresses.

#ifndef CWL_MESSAGE_H
#define CWL_MESSAGE_H

#include "cwl_system.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/uio.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

// ---- socket options

static inline int64_t cwl_set_option(int fd, int level, int name, int value) {
    return cwl_result(setsockopt(fd, level, name, &value, sizeof value));
}

static inline int64_t cwl_get_option(int fd, int level, int name, int *value) {
    socklen_t length = sizeof *value;
    return cwl_result(getsockopt(fd, level, name, value, &length));
}

/// Reads and clears the socket's pending error: 0, or the errno that was pending, positive.
static inline int64_t cwl_take_error(int fd) {
    int value = 0;
    int64_t result = cwl_get_option(fd, SOL_SOCKET, SO_ERROR, &value);
    return result < 0 ? result : value;
}

/// Sets the receive buffer, over the machine's limit where that is allowed; the size in force, as the kernel counts.
static inline int64_t cwl_set_receive_buffer(int fd, int bytes) {
    if (cwl_set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes) < 0) (void)cwl_set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes);
    int value = 0;
    int64_t result = cwl_get_option(fd, SOL_SOCKET, SO_RCVBUF, &value);
    return result < 0 ? result : value;
}

static inline int64_t cwl_set_send_buffer(int fd, int bytes) {
    if (cwl_set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes) < 0) (void)cwl_set_option(fd, SOL_SOCKET, SO_SNDBUF, bytes);
    int value = 0;
    int64_t result = cwl_get_option(fd, SOL_SOCKET, SO_SNDBUF, &value);
    return result < 0 ? result : value;
}

// ---- addresses

/// A UDP address of either family.
struct cwl_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } of;
};

/// Writes an address; `high` and `low` are the IPv6 address (IPv4: mapped), `port` and `scope` in host order. With
/// `as_v4`, the low 32 bits become an IPv4 address. The length of the address.
static inline uint32_t cwl_address_put(
    struct cwl_address *address, int as_v4, uint64_t high, uint64_t low, uint16_t port, uint32_t scope) {
    if (as_v4) {
        memset(&address->of.v4, 0, sizeof address->of.v4);
        address->of.v4.sin_family = AF_INET;
        address->of.v4.sin_port = htons(port);
        address->of.v4.sin_addr.s_addr = htonl((uint32_t)low);
        return sizeof address->of.v4;
    }
    memset(&address->of.v6, 0, sizeof address->of.v6);
    uint64_t words[2] = {__builtin_bswap64(high), __builtin_bswap64(low)};
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) words[0] = high, words[1] = low;
    memcpy(&address->of.v6.sin6_addr, words, sizeof words);
    address->of.v6.sin6_family = AF_INET6;
    address->of.v6.sin6_port = htons(port);
    address->of.v6.sin6_scope_id = scope;
    return sizeof address->of.v6;
}

/// Reads an address back; IPv4 comes mapped. 0, or -EAFNOSUPPORT.
static inline int64_t cwl_address_get(
    const struct cwl_address *address, uint64_t *high, uint64_t *low, uint16_t *port, uint32_t *scope) {
    if (address->of.any.sa_family == AF_INET) {
        *high = 0;
        *low = 0x0000FFFF00000000u | ntohl(address->of.v4.sin_addr.s_addr);
        *port = ntohs(address->of.v4.sin_port);
        *scope = 0;
        return 0;
    }
    if (address->of.any.sa_family != AF_INET6) return -EAFNOSUPPORT;
    uint64_t words[2];
    memcpy(words, &address->of.v6.sin6_addr, sizeof words);
    if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
        words[0] = __builtin_bswap64(words[0]);
        words[1] = __builtin_bswap64(words[1]);
    }
    *high = words[0];
    *low = words[1];
    *port = ntohs(address->of.v6.sin6_port);
    *scope = address->of.v6.sin6_scope_id;
    return 0;
}

// ---- UDP sockets

static inline int64_t cwl_udp_open(int as_v4) {
    return cwl_result(socket(as_v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP));
}

/// Several sockets may be bound to one address; the kernel chooses one for each datagram.
static inline int64_t cwl_udp_reuse_port(int fd) {
    return cwl_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
}

static inline int64_t cwl_udp_bind(int fd, const struct cwl_address *address, uint32_t length) {
    return cwl_result(bind(fd, &address->of.any, length));
}

static inline int64_t cwl_udp_connect(int fd, const struct cwl_address *address, uint32_t length) {
    return cwl_result(connect(fd, &address->of.any, length));
}

static inline int64_t cwl_udp_local(int fd, struct cwl_address *address) {
    socklen_t length = sizeof *address;
    return cwl_result(getsockname(fd, &address->of.any, &length));
}

static inline int64_t cwl_udp_both_families(int fd) {
    return cwl_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
}

/// Nobody fragments what is sent, and the kernel forgets what ICMP says of the path: only its own interface's MTU stops a packet.
static inline int64_t cwl_udp_probe_path_v4(int fd) {
    return cwl_set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
}

static inline int64_t cwl_udp_probe_path_v6(int fd) {
    return cwl_set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
}

static inline int64_t cwl_udp_coalesce(int fd, int on) {
    return cwl_set_option(fd, IPPROTO_UDP, UDP_GRO, on);
}

/// The hop limit (IPv6) and time to live (IPv4) of what the socket sends.
static inline int64_t cwl_udp_hops(int fd, int as_v4, int hops) {
    int64_t v4 = cwl_set_option(fd, IPPROTO_IP, IP_TTL, hops);
    return as_v4 ? v4 : cwl_set_option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, hops);
}

/// Has each message say what traffic class its IP headers had.
static inline void cwl_udp_tell_class(int fd) {
    (void)cwl_set_option(fd, IPPROTO_IP, IP_RECVTOS, 1);
    (void)cwl_set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
}

/// Whether the kernel knows UDP_SEGMENT at all.
static inline int64_t cwl_udp_can_segment(int fd) {
    int value = 0;
    return cwl_get_option(fd, IPPROTO_UDP, UDP_SEGMENT, &value);
}

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

/// Datagrams that the kernel dropped at this socket since it was opened, modulo 2^32.
static inline int64_t cwl_udp_drops(int fd) {
    uint32_t values[9] = {0};  // SK_MEMINFO_DROPS is the ninth
    socklen_t length = sizeof values;
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &length) < 0 ? cwl_result(-1) : (int64_t)values[8];
}

// ---- messages

/// struct mmsghdr under a name that needs no _GNU_SOURCE.
struct cwl_message {
    struct msghdr msg_hdr;
    unsigned int msg_len;
};

/// Room for control messages that hold an integer each: the size of segments, and the traffic class of either family.
struct cwl_control {
    _Alignas(8) uint8_t octets[3 * CMSG_SPACE(sizeof(int))];
};

/// Points `message` at one part without address or control.
static inline void cwl_message_frame(struct cwl_message *message, struct iovec *part, const void *bytes, size_t count) {
    part->iov_base = (void *)bytes;
    part->iov_len = count;
    memset(message, 0, sizeof *message);
    message->msg_hdr.msg_iov = part;
    message->msg_hdr.msg_iovlen = 1;
}

/// Points `message` at one part to a UDP address.
static inline void cwl_message_datagram(
    struct cwl_message *message, struct iovec *part, const void *bytes, size_t count, struct cwl_address *address,
    uint32_t address_length) {
    cwl_message_frame(message, part, bytes, count);
    message->msg_hdr.msg_name = address;
    message->msg_hdr.msg_namelen = address_length;
}

/// Asks for the datagram to be cut into segments of `size` octets.
static inline void cwl_message_segment(struct cwl_message *message, struct cwl_control *control, uint16_t size) {
    message->msg_hdr.msg_control = control->octets;
    message->msg_hdr.msg_controllen = CMSG_SPACE(sizeof size);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message->msg_hdr);
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(header), &size, sizeof size);
}

/// Has the datagrams' IP headers say `octet`, beside what else `message` asks for with the same `control`.
static inline void cwl_message_class(
    struct cwl_message *message, struct cwl_control *control, int is_ipv4, uint8_t octet) {
    struct msghdr *h = &message->msg_hdr;
    struct cmsghdr *header = (struct cmsghdr *)(void *)(control->octets + h->msg_controllen);
    int value = octet;
    h->msg_control = control->octets;
    h->msg_controllen += CMSG_SPACE(sizeof value);
    header->cmsg_level = is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6;
    header->cmsg_type = is_ipv4 ? IP_TOS : IPV6_TCLASS;
    header->cmsg_len = CMSG_LEN(sizeof value);
    memcpy(CMSG_DATA(header), &value, sizeof value);
}

/// Makes `message` ready to receive: room for payload, source and the size of coalesced segments.
static inline void cwl_message_vacant(
    struct cwl_message *message, struct iovec *part, void *bytes, size_t count, struct cwl_address *address,
    struct cwl_control *control) {
    cwl_message_frame(message, part, bytes, count);
    message->msg_hdr.msg_name = address;
    message->msg_hdr.msg_namelen = sizeof *address;
    message->msg_hdr.msg_control = control->octets;
    message->msg_hdr.msg_controllen = sizeof control->octets;
}

/// What control messages say of a received message.
struct cwl_received {
    /// The size of the segments that were coalesced into it; 0 when it is one datagram.
    int segment;
    /// The traffic class of its IP headers; 0 where the kernel did not say.
    uint8_t octet;
};

static inline struct cwl_received cwl_message_received(struct cwl_message *message) {
    struct cwl_received result = {0, 0};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message->msg_hdr);
    for (; header != NULL; header = CMSG_NXTHDR(&message->msg_hdr, header)) {
        if (header->cmsg_level == IPPROTO_UDP && header->cmsg_type == UDP_GRO) {
            memcpy(&result.segment, CMSG_DATA(header), sizeof result.segment);
        } else if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_TOS) {
            // One octet, unlike IPv6's.
            result.octet = *CMSG_DATA(header);
        } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_TCLASS) {
            int value = 0;
            memcpy(&value, CMSG_DATA(header), sizeof value);
            result.octet = (uint8_t)value;
        }
    }
    return result;
}

static inline int cwl_message_is_truncated(const struct cwl_message *message) {
    return (message->msg_hdr.msg_flags & MSG_TRUNC) != 0;
}

/// Sends one message of one part by the shortest way: without an address if the socket has one, without control if it has none.
int64_t cwl_send_one(int fd, const struct cwl_message *message);

int64_t cwl_send_message(int fd, const struct cwl_message *message);

/// Receives one message.
int64_t cwl_receive_one(int fd, struct cwl_message *message);

/// How many messages went; the error only if the first did not.
int64_t cwl_send_messages(int fd, struct cwl_message *messages, unsigned int count);

int64_t cwl_receive_messages(int fd, struct cwl_message *messages, unsigned int count);

#endif

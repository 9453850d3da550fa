// AF_PACKET: socket options, the TPACKET_V2 receive ring (Documentation/networking/packet_mmap.rst), and the virtio
// network header (virtio 1.2 section 5.1.6) that comes with each frame.
//
// A slot of the ring, with PACKET_VNET_HDR and PACKET_RESERVE:
//
//     | tpacket2_hdr, 32 | sockaddr_ll, 20 | gap | virtio header, 10 | frame, from tp_mac on ... |

#ifndef CWL_PACKET_H
#define CWL_PACKET_H

#include "cwl_message.h"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <sys/mman.h>

// ---- sockets

/// A packet socket that captures nothing until it is bound to a protocol.
static inline int64_t cwl_packet_open(void) {
    return cwl_result(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

/// Binds to a device; captures everything from then on if `capture`.
static inline int64_t cwl_packet_bind(int fd, int index, int capture) {
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = capture ? htons(ETH_P_ALL) : 0, .sll_ifindex = index};
    return cwl_result(bind(fd, (struct sockaddr *)&address, sizeof address));
}

static inline int64_t cwl_packet_version2(int fd) {
    return cwl_set_option(fd, SOL_PACKET, PACKET_VERSION, TPACKET_V2);
}

static inline int64_t cwl_packet_virtio_header(int fd) {
    return cwl_set_option(fd, SOL_PACKET, PACKET_VNET_HDR, 1);
}

static inline int64_t cwl_packet_reserve(int fd, int octets) {
    return cwl_set_option(fd, SOL_PACKET, PACKET_RESERVE, octets);
}

/// Has frames that are larger than a slot queued whole on the socket as well.
static inline int64_t cwl_packet_copy_large(int fd) {
    return cwl_set_option(fd, SOL_PACKET, PACKET_COPY_THRESH, 1);
}

static inline int64_t cwl_packet_auxiliary_data(int fd) {
    return cwl_set_option(fd, SOL_PACKET, PACKET_AUXDATA, 1);
}

static inline int64_t cwl_packet_ignore_outgoing(int fd) {
    return cwl_set_option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
}

static inline int64_t cwl_packet_bypass_queue(int fd) {
    return cwl_set_option(fd, SOL_PACKET, PACKET_QDISC_BYPASS, 1);
}

static inline int64_t cwl_packet_promiscuous(int fd, int index) {
    struct packet_mreq request = {.mr_ifindex = index, .mr_type = PACKET_MR_PROMISC};
    return cwl_result(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof request));
}

/// Linux 5.18 and later; older headers lack it, and older kernels pass over it.
#ifndef PACKET_FANOUT_FLAG_IGNORE_OUTGOING
#define PACKET_FANOUT_FLAG_IGNORE_OUTGOING 0x4000
#endif

/// Makes a group of sockets among which a program chooses one for each frame; the group's number. A group does not take over
/// what its sockets say of outgoing frames.
static inline int64_t cwl_packet_fanout_create(int fd) {
    int64_t result = cwl_set_option(fd, SOL_PACKET, PACKET_FANOUT, (int)((PACKET_FANOUT_CBPF | PACKET_FANOUT_FLAG_UNIQUEID | PACKET_FANOUT_FLAG_IGNORE_OUTGOING) << 16));
    if (result < 0) return result;
    int value = 0;
    result = cwl_get_option(fd, SOL_PACKET, PACKET_FANOUT, &value);
    return result < 0 ? result : value & 0xFFFF;
}

static inline int64_t cwl_packet_fanout_join(int fd, int64_t group) {
    return cwl_set_option(fd, SOL_PACKET, PACKET_FANOUT, (int)group | (PACKET_FANOUT_CBPF | PACKET_FANOUT_FLAG_IGNORE_OUTGOING) << 16);
}

/// The group's program; it sees the frame from its network header on. `program`: `count` times struct sock_filter.
static inline int64_t cwl_packet_fanout_program(int fd, const void *program, size_t count) {
    struct sock_fprog filter = {.len = (unsigned short)count, .filter = (struct sock_filter *)program};
    return cwl_result(setsockopt(fd, SOL_PACKET, PACKET_FANOUT_DATA, &filter, sizeof filter));
}

/// Frames that the kernel dropped since the last call.
static inline int64_t cwl_packet_take_drops(int fd) {
    struct tpacket_stats statistics = {0};
    socklen_t length = sizeof statistics;
    int result = getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length);
    return result < 0 ? cwl_result(-1) : (int64_t)statistics.tp_drops;
}

// ---- ring

static inline int64_t cwl_ring_create(int fd, uint32_t block_size, uint32_t blocks, uint32_t slot_size, uint32_t slots) {
    struct tpacket_req request = {
        .tp_block_size = block_size, .tp_block_nr = blocks, .tp_frame_size = slot_size, .tp_frame_nr = slots};
    return cwl_result(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request));
}

/// Maps the ring; the memory is the caller's to unmap.
static inline int64_t cwl_ring_map(int fd, size_t octets, void **ring) {
    void *address = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (address == MAP_FAILED) return cwl_result(-1);
    *ring = address;
    return 0;
}

static inline int64_t cwl_ring_unmap(void *ring, size_t octets) {
    return cwl_result(munmap(ring, octets));
}

/// The status word; what the kernel wrote to the slot before it is visible after.
static inline uint32_t cwl_slot_status(const void *slot) {
    return __atomic_load_n(&((const struct tpacket2_hdr *)slot)->tp_status, __ATOMIC_ACQUIRE);
}

/// Gives the slot back to the kernel; everything read from or written to it comes before.
static inline void cwl_slot_release(void *slot) {
    __atomic_store_n(&((struct tpacket2_hdr *)slot)->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
}

static inline uint32_t cwl_slot_length(const void *slot) { return ((const struct tpacket2_hdr *)slot)->tp_len; }
static inline uint32_t cwl_slot_captured(const void *slot) { return ((const struct tpacket2_hdr *)slot)->tp_snaplen; }
static inline uint16_t cwl_slot_frame(const void *slot) { return ((const struct tpacket2_hdr *)slot)->tp_mac; }
static inline uint16_t cwl_slot_tag(const void *slot) { return ((const struct tpacket2_hdr *)slot)->tp_vlan_tci; }
static inline uint16_t cwl_slot_tag_protocol(const void *slot) { return ((const struct tpacket2_hdr *)slot)->tp_vlan_tpid; }

static inline uint32_t cwl_status_user(void) { return TP_STATUS_USER; }
static inline uint32_t cwl_status_copy(void) { return TP_STATUS_COPY; }
static inline uint32_t cwl_status_tag(void) { return TP_STATUS_VLAN_VALID; }
static inline uint32_t cwl_status_tag_protocol(void) { return TP_STATUS_VLAN_TPID_VALID; }

/// Octets of the virtio header.
static inline size_t cwl_virtio_size(void) { return sizeof(struct virtio_net_hdr); }

/// The virtio header's fields, in host order. (The kernel writes it in the machine's order.)
struct cwl_virtio {
    uint8_t flags;
    uint8_t kind;
    uint16_t segment_size;
    uint16_t checksum_start;
    uint16_t checksum_offset;
};

static inline struct cwl_virtio cwl_virtio_read(const void *octets) {
    struct virtio_net_hdr header;
    memcpy(&header, octets, sizeof header);
    return (struct cwl_virtio){
        .flags = header.flags,
        .kind = header.gso_type,
        .segment_size = header.gso_size,
        .checksum_start = header.csum_start,
        .checksum_offset = header.csum_offset};
}

static inline uint8_t cwl_virtio_needs_checksum(void) { return VIRTIO_NET_HDR_F_NEEDS_CSUM; }

/// Writes a virtio header: `header_length` octets of headers, the first of the payload behind them.
static inline void cwl_virtio_write(void *octets, struct cwl_virtio about, uint16_t header_length) {
    struct virtio_net_hdr header = {
        .flags = about.flags,
        .gso_type = about.kind,
        .hdr_len = header_length,
        .gso_size = about.segment_size,
        .csum_start = about.checksum_start,
        .csum_offset = about.checksum_offset};
    memcpy(octets, &header, sizeof header);
}

/// What PACKET_AUXDATA says of a frame that came through recvmsg.
struct cwl_large_frame {
    uint32_t status;
    uint16_t tag;
    uint16_t tag_protocol;
    int32_t is_truncated;
};

/// Reads the next large frame: its virtio header, then as much of the frame as fits. Octets of both.
static inline int64_t cwl_packet_receive(int fd, void *virtio, void *frame, size_t room, struct cwl_large_frame *about) {
    struct iovec parts[2] = {{virtio, sizeof(struct virtio_net_hdr)}, {frame, room}};
    _Alignas(8) uint8_t control[CMSG_SPACE(sizeof(struct tpacket_auxdata)) + 64];
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control};
    int64_t result = cwl_result(recvmsg(fd, &message, MSG_DONTWAIT));
    memset(about, 0, sizeof *about);
    if (result < 0) return result;
    about->is_truncated = (message.msg_flags & MSG_TRUNC) != 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h != NULL; h = CMSG_NXTHDR(&message, h)) {
        if (h->cmsg_level != SOL_PACKET || h->cmsg_type != PACKET_AUXDATA) continue;
        struct tpacket_auxdata data;
        memcpy(&data, CMSG_DATA(h), sizeof data);
        about->status = data.tp_status;
        about->tag = data.tp_vlan_tci;
        about->tag_protocol = data.tp_vlan_tpid;
    }
    return result;
}

#endif

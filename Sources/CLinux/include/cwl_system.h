// Threads, clocks, epoll, eventfd, unix sockets and files: the general part of the kernel's interface.
//
// Functions without a body here are in clinux.c: the C library declares what they use only under _GNU_SOURCE, and a
// header that defines that contradicts Swift's own module of the C library.

#ifndef CWL_SYSTEM_H
#define CWL_SYSTEM_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/// The C convention (-1 and errno) turned into the one of this target.
static inline int64_t cwl_result(int64_t result) {
    return result < 0 ? -(int64_t)errno : result;
}

/// The English text for an errno, which lives for ever; NULL for an unknown one.
const char *cwl_error_text(int code);

static inline int64_t cwl_close(int fd) {
    return cwl_result(close(fd));
}

// ---- clocks

static inline uint64_t cwl_clock_monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t cwl_clock_wall(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// ---- waiting

/// Waits for `events` on one descriptor; the events that came, 0 after `nanoseconds`. A negative time waits for ever.
int64_t cwl_poll(int fd, short events, int64_t nanoseconds);

static inline int64_t cwl_epoll_create(void) {
    return cwl_result(epoll_create1(EPOLL_CLOEXEC));
}

static inline int64_t cwl_epoll_add(int epoll, int fd, uint32_t events, uint32_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    return cwl_result(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

static inline int64_t cwl_epoll_change(int epoll, int fd, uint32_t events, uint32_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    return cwl_result(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event));
}

static inline int64_t cwl_epoll_remove(int epoll, int fd) {
    return cwl_result(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
}

static inline size_t cwl_epoll_event_size(void) {
    return sizeof(struct epoll_event);
}

/// `events` has room for `count` times cwl_epoll_event_size. A negative time waits for ever.
int64_t cwl_epoll_wait(int epoll, void *events, int count, int64_t nanoseconds);

static inline uint32_t cwl_epoll_token(const void *events, int index) {
    return (uint32_t)((const struct epoll_event *)events)[index].data.u64;
}

static inline uint32_t cwl_epoll_events(const void *events, int index) {
    return ((const struct epoll_event *)events)[index].events;
}

static inline uint32_t cwl_epoll_in(void) { return EPOLLIN; }
static inline uint32_t cwl_epoll_out(void) { return EPOLLOUT; }
static inline uint32_t cwl_epoll_edge(void) { return EPOLLET; }
static inline uint32_t cwl_epoll_error(void) { return EPOLLERR | EPOLLHUP; }

static inline int64_t cwl_eventfd(void) {
    return cwl_result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static inline int64_t cwl_eventfd_signal(int fd) {
    uint64_t one = 1;
    return cwl_result(write(fd, &one, sizeof one));
}

static inline int64_t cwl_eventfd_drain(int fd) {
    uint64_t count;
    return cwl_result(read(fd, &count, sizeof count));
}

/// A timer on CLOCK_MONOTONIC.
static inline int64_t cwl_timer_create(void) {
    return cwl_result(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

/// Makes the descriptor readable once the clock has reached `nanoseconds`, which must be positive.
static inline int64_t cwl_timer_set(int fd, uint64_t nanoseconds) {
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)}};
    return cwl_result(timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL));
}

/// Opens the file through which the exit latency of idle processors is bounded (Documentation/power/pm_qos_interface.rst).
static inline int64_t cwl_idle_latency_open(void) {
    return cwl_result(open("/dev/cpu_dma_latency", O_WRONLY | O_CLOEXEC));
}

/// The bound, in microseconds, that holds while the descriptor is open.
static inline int64_t cwl_idle_latency_set(int fd, int32_t microseconds) {
    return cwl_result(write(fd, &microseconds, sizeof microseconds));
}

static inline void cwl_yield(void) { (void)sched_yield(); }

// ---- threads

/// Starts a thread, on `cpu` only unless that is negative. `context` is handed to `body`, which owns it from then on
/// if this worked.
int64_t cwl_thread_start(pthread_t *thread, int cpu, void *(*body)(void *), void *context);

/// Processors that the calling thread may run on.
int64_t cwl_processors(void);

static inline int64_t cwl_pread(int fd, void *bytes, size_t count, int64_t offset) {
    return cwl_result(pread(fd, bytes, count, offset));
}

/// Octets of a set of processors (cpu_set_t), which the functions below are given.
size_t cwl_processors_size(void);

/// Fills a set with those that the calling thread may run on.
int64_t cwl_thread_processors(void *set);

/// Lets the calling thread run on those of a set that its cpuset has.
int64_t cwl_thread_set_processors(const void *set);

void cwl_processors_all(void *set);

/// EINVAL for a number that no set has.
int64_t cwl_processors_only(void *set, int cpu);

int cwl_processors_has(const void *set, int cpu);

int cwl_processors_equal(const void *a, const void *b);

/// Lets the calling thread sleep until the monotonic clock has reached `nanoseconds`, or a signal comes.
int64_t cwl_thread_sleep_until(uint64_t nanoseconds);

/// Has the kernel wake the calling thread when it has asked for it, and not up to 50 us later.
int64_t cwl_thread_exact_timers(void);

/// The processor that the calling thread runs on.
int64_t cwl_thread_processor(void);

/// For how many nanoseconds the thread whose /proc/thread-self/schedstat this is has run, or has waited for a processor.
int64_t cwl_thread_cost(int fd);

/// Names the calling thread; at most 15 octets.
int64_t cwl_thread_set_name(const char *name);

// ---- unix sockets

static inline int64_t cwl_unix_open(int non_blocking) {
    return cwl_result(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (non_blocking ? SOCK_NONBLOCK : 0), 0));
}

/// The longest path of a unix socket, in octets.
static inline size_t cwl_unix_path_limit(void) {
    return sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
}

static inline socklen_t cwl_unix_address(struct sockaddr_un *address, const char *path) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    strncpy(address->sun_path, path, sizeof address->sun_path - 1);
    return (socklen_t)sizeof *address;
}

/// Binds to `path`, which the kernel creates with the mode of the socket itself (less the umask, which is put aside for a mode
/// that it would change): there is no moment at which others could connect.
static inline int64_t cwl_unix_bind(int fd, const char *path, mode_t mode) {
    struct sockaddr_un address;
    socklen_t length = cwl_unix_address(&address, path);
    if (fchmod(fd, mode) != 0) return cwl_result(-1);
    if ((mode & 077) == 0) return cwl_result(bind(fd, (struct sockaddr *)&address, length));
    mode_t mask = umask(0);
    int64_t result = cwl_result(bind(fd, (struct sockaddr *)&address, length));
    umask(mask);
    return result;
}

static inline int64_t cwl_unix_connect(int fd, const char *path) {
    struct sockaddr_un address;
    socklen_t length = cwl_unix_address(&address, path);
    return cwl_result(connect(fd, (struct sockaddr *)&address, length));
}

static inline int64_t cwl_unix_listen(int fd, int backlog) {
    return cwl_result(listen(fd, backlog));
}

int64_t cwl_accept(int fd);

static inline int64_t cwl_set_send_timeout(int fd, int64_t nanoseconds) {
    struct timeval t = {.tv_sec = nanoseconds / 1000000000, .tv_usec = nanoseconds % 1000000000 / 1000};
    return cwl_result(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t));
}

static inline int64_t cwl_set_non_blocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? cwl_result(-1) : cwl_result(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

static inline int64_t cwl_stream_send(int fd, const void *bytes, size_t count) {
    return cwl_result(send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT));
}

static inline int64_t cwl_stream_receive(int fd, void *bytes, size_t count) {
    return cwl_result(recv(fd, bytes, count, MSG_DONTWAIT));
}

// ---- files

/// What stat says of a file, as far as it is needed here.
struct cwl_file_status {
    uint64_t device;
    uint64_t inode;
    int64_t size;
    uint32_t permissions;
    uint32_t owner;
    int32_t is_regular;
    int32_t is_socket;
};

static inline void cwl_file_status_fill(struct cwl_file_status *out, const struct stat *in) {
    out->device = in->st_dev;
    out->inode = in->st_ino;
    out->size = in->st_size;
    out->permissions = in->st_mode & 07777;
    out->owner = in->st_uid;
    out->is_regular = S_ISREG(in->st_mode);
    out->is_socket = S_ISSOCK(in->st_mode);
}

/// The file itself: a symbolic link is not followed.
static inline int64_t cwl_status_of_path(const char *path, struct cwl_file_status *out) {
    struct stat status;
    if (lstat(path, &status) != 0) return cwl_result(-1);
    cwl_file_status_fill(out, &status);
    return 0;
}

static inline int64_t cwl_status_of_descriptor(int fd, struct cwl_file_status *out) {
    struct stat status;
    if (fstat(fd, &status) != 0) return cwl_result(-1);
    cwl_file_status_fill(out, &status);
    return 0;
}

/// Opens for reading; returns at once even if the path names a pipe without a writer.
static inline int64_t cwl_open_read(const char *path) {
    return cwl_result(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

/// Opens for writing at the end, and creates what is not there. A pipe without a reader is an error, and nothing is waited for.
static inline int64_t cwl_open_append(const char *path, mode_t mode) {
    return cwl_result(open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW, mode));
}

static inline int64_t cwl_open_directory(const char *path) {
    return cwl_result(open(path, O_RDONLY | O_CLOEXEC | O_DIRECTORY));
}

/// Creates a file that did not exist, whatever the umask with exactly this mode.
static inline int64_t cwl_create_exclusive(const char *path, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) return cwl_result(-1);
    if (fchmod(fd, mode) == 0) return fd;
    int64_t result = cwl_result(-1);
    close(fd);
    return result;
}

static inline int64_t cwl_read(int fd, void *bytes, size_t count) {
    return cwl_result(read(fd, bytes, count));
}

static inline int64_t cwl_write(int fd, const void *bytes, size_t count) {
    return cwl_result(write(fd, bytes, count));
}

static inline int64_t cwl_fsync(int fd) { return cwl_result(fsync(fd)); }
static inline int64_t cwl_unlink(const char *path) { return cwl_result(unlink(path)); }
static inline int64_t cwl_mkdir(const char *path, mode_t mode) { return cwl_result(mkdir(path, mode)); }

#endif

// What CLinux cannot do inline: the functions whose declarations need _GNU_SOURCE.

#define _GNU_SOURCE

#include "clinux.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

_Static_assert(sizeof(struct cwl_message) == sizeof(struct mmsghdr), "the layout of struct mmsghdr");
_Static_assert(offsetof(struct cwl_message, msg_len) == offsetof(struct mmsghdr, msg_len), "the layout of struct mmsghdr");

// What waits for events, and what sends and receives messages, does not go by the C library's functions: those prepare for the
// thread's cancellation, twice a call.

const char *cwl_error_text(int code) {
    return strerrordesc_np(code);
}

int64_t cwl_poll(int fd, short events, int64_t nanoseconds) {
    struct pollfd p = {.fd = fd, .events = events};
    struct timespec t = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    int64_t result = cwl_result(ppoll(&p, 1, nanoseconds < 0 ? NULL : &t, NULL));
    return result > 0 ? p.revents : result;
}

int64_t cwl_epoll_wait(int epoll, void *events, int count, int64_t nanoseconds) {
    struct timespec t = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    return cwl_result(syscall(SYS_epoll_pwait2, epoll, events, count, nanoseconds < 0 ? NULL : &t, NULL, 0));
}

int64_t cwl_thread_start(pthread_t *thread, int cpu, void *(*body)(void *), void *context) {
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) return -error;
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((unsigned)cpu, &set);
        error = cpu < CPU_SETSIZE ? pthread_attr_setaffinity_np(&attributes, sizeof set, &set) : EINVAL;
    }
    if (error == 0) error = pthread_create(thread, &attributes, body, context);
    pthread_attr_destroy(&attributes);
    return -error;
}

size_t cwl_processors_size(void) { return sizeof(cpu_set_t); }

int64_t cwl_thread_processors(void *set) {
    return cwl_result(sched_getaffinity(0, sizeof(cpu_set_t), (cpu_set_t *)set));
}

int64_t cwl_thread_set_processors(const void *set) {
    return cwl_result(sched_setaffinity(0, sizeof(cpu_set_t), (const cpu_set_t *)set));
}

void cwl_processors_all(void *set) { memset(set, 0xFF, sizeof(cpu_set_t)); }

int64_t cwl_processors_only(void *set, int cpu) {
    if (cpu < 0 || cpu >= CPU_SETSIZE) return -EINVAL;
    CPU_ZERO((cpu_set_t *)set);
    CPU_SET((unsigned)cpu, (cpu_set_t *)set);
    return 0;
}

int cwl_processors_has(const void *set, int cpu) {
    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET((unsigned)cpu, (const cpu_set_t *)set);
}

int cwl_processors_equal(const void *a, const void *b) { return CPU_EQUAL((const cpu_set_t *)a, (const cpu_set_t *)b); }

int64_t cwl_thread_sleep_until(uint64_t nanoseconds) {
    struct timespec t = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};
    return -(int64_t)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

int64_t cwl_thread_exact_timers(void) { return cwl_result(prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)); }

int64_t cwl_thread_processor(void) {
    return cwl_result(sched_getcpu());
}

int64_t cwl_thread_cost(int fd) {
    // Time on a processor, time waiting for one, turns.
    char text[96];
    ssize_t count = pread(fd, text, sizeof text - 1, 0);
    if (count < 0) return cwl_result(-1);
    text[count] = 0;
    char *end = NULL;
    uint64_t run = strtoull(text, &end, 10);
    return (int64_t)(run + strtoull(end, NULL, 10));
}

int64_t cwl_thread_set_name(const char *name) {
    return -(int64_t)pthread_setname_np(pthread_self(), name);
}

int64_t cwl_processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) != 0 ? cwl_result(-1) : CPU_COUNT(&set);
}

int64_t cwl_accept(int fd) {
    return cwl_result(accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

int64_t cwl_send_one(int fd, const struct cwl_message *message) {
    const struct msghdr *h = &message->msg_hdr;
    if (h->msg_controllen != 0) return cwl_send_message(fd, message);
    const void *address = h->msg_namelen == 0 ? NULL : h->msg_name;
    return cwl_result(syscall(
        SYS_sendto, fd, h->msg_iov->iov_base, h->msg_iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL, address, h->msg_namelen));
}

int64_t cwl_send_message(int fd, const struct cwl_message *message) {
    return cwl_result(syscall(SYS_sendmsg, fd, &message->msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL));
}

int64_t cwl_receive_one(int fd, struct cwl_message *message) {
    int64_t result = cwl_result(syscall(SYS_recvmsg, fd, &message->msg_hdr, MSG_DONTWAIT));
    if (result >= 0) message->msg_len = (unsigned int)result;
    return result;
}

int64_t cwl_send_messages(int fd, struct cwl_message *messages, unsigned int count) {
    return cwl_result(syscall(SYS_sendmmsg, fd, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL));
}

int64_t cwl_receive_messages(int fd, struct cwl_message *messages, unsigned int count) {
    return cwl_result(syscall(SYS_recvmmsg, fd, messages, count, MSG_DONTWAIT, NULL));
}

int64_t cwl_namespace_create(void) {
    if (unshare(CLONE_NEWNET) != 0) return cwl_result(-1);
    return cwl_namespace_current();
}

int64_t cwl_namespace_enter(int namespace) {
    return cwl_result(setns(namespace, CLONE_NEWNET));
}

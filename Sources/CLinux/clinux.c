// What CLinux cannot do inline: the functions whose declarations need _GNU_SOURCE.

#define _GNU_SOURCE

#include "clinux.h"

#include <sched.h>

_Static_assert(sizeof(struct cwl_message) == sizeof(struct mmsghdr), "the layout of struct mmsghdr");
_Static_assert(offsetof(struct cwl_message, msg_len) == offsetof(struct mmsghdr, msg_len), "the layout of struct mmsghdr");

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
    return cwl_result(epoll_pwait2(epoll, (struct epoll_event *)events, count, nanoseconds < 0 ? NULL : &t, NULL));
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

int64_t cwl_send_messages(int fd, struct cwl_message *messages, unsigned int count) {
    return cwl_result(sendmmsg(fd, (struct mmsghdr *)messages, count, MSG_DONTWAIT | MSG_NOSIGNAL));
}

int64_t cwl_receive_messages(int fd, struct cwl_message *messages, unsigned int count) {
    return cwl_result(recvmmsg(fd, (struct mmsghdr *)messages, count, MSG_DONTWAIT, NULL));
}

int64_t cwl_namespace_create(void) {
    if (unshare(CLONE_NEWNET) != 0) return cwl_result(-1);
    return cwl_namespace_current();
}

int64_t cwl_namespace_enter(int namespace) {
    return cwl_result(setns(namespace, CLONE_NEWNET));
}

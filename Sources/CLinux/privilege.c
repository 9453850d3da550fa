// Users, capabilities, Landlock and seccomp, by the system calls themselves: none of it needs a library beside the C one.

#define _GNU_SOURCE

#include "clinux.h"

#include <dirent.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// ---- users

int64_t cwl_user_find(const char *name, uint32_t *user, uint32_t *group) {
    struct passwd entry, *found = NULL;
    char room[16384];
    int error = getpwnam_r(name, &entry, room, sizeof room, &found);
    if (found == NULL) return error == 0 ? -ENOENT : -(int64_t)error;
    *user = entry.pw_uid;
    *group = entry.pw_gid;
    return 0;
}

int64_t cwl_group_find(const char *name) {
    struct group entry, *found = NULL;
    char room[65536];
    int error = getgrnam_r(name, &entry, room, sizeof room, &found);
    if (found == NULL) return error == 0 ? -ENOENT : -(int64_t)error;
    return entry.gr_gid;
}

int64_t cwl_user_name(uint32_t user, char *name, size_t room) {
    struct passwd entry, *found = NULL;
    char space[16384];
    int error = getpwuid_r(user, &entry, space, sizeof space, &found);
    if (found == NULL) return error == 0 ? -ENOENT : -(int64_t)error;
    if (strlen(entry.pw_name) >= room) return -ENAMETOOLONG;
    strcpy(name, entry.pw_name);
    return 0;
}

/// How many supplementary groups there are beside `group`.
static int64_t cwl_other_groups(uint32_t group) {
    int count = getgroups(0, NULL);
    if (count <= 0) return cwl_result(count);
    gid_t *groups = calloc((size_t)count, sizeof *groups);
    if (groups == NULL) return -ENOMEM;
    int64_t others = 0;
    count = getgroups(count, groups);
    if (count < 0) others = cwl_result(count);
    for (int index = 0; index < count; index++) others += groups[index] != group;
    free(groups);
    return others;
}

int64_t cwl_become(uint32_t user, uint32_t group, int keeps_capabilities) {
    int64_t others = 0;
    if (prctl(PR_SET_KEEPCAPS, keeps_capabilities != 0, 0, 0, 0) != 0) return cwl_result(-1);
    // Groups first: afterwards it is not allowed. The C library has every thread do each of these.
    if (setgroups(0, NULL) != 0) {
        if (errno != EPERM || geteuid() != user || getegid() != group) return cwl_result(-1);
        others = cwl_other_groups(group);
        if (others < 0) return others;
    }
    if (setresgid(group, group, group) != 0) return cwl_result(-1);
    if (setresuid(user, user, user) != 0) return cwl_result(-1);
    return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0 ? cwl_result(-1) : others;
}

// ---- capabilities (capabilities(7))

static int64_t cwl_capset(const struct __user_cap_data_struct *data) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    return cwl_result(syscall(SYS_capset, &header, data));
}

int64_t cwl_capabilities(uint64_t *effective) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) != 0) return cwl_result(-1);
    *effective = (uint64_t)data[1].effective << 32 | data[0].effective;
    return 0;
}

uint64_t cwl_capabilities_bounding(void) {
    uint64_t set = 0;
    for (unsigned long number = 0; number < 64; number++) {
        int result = prctl(PR_CAPBSET_READ, number, 0, 0, 0);
        if (result < 0) break;
        if (result == 1) set |= (uint64_t)1 << number;
    }
    return set;
}

int64_t cwl_capabilities_bound(uint64_t kept) {
    for (unsigned long number = 0; number < 64; number++) {
        if (kept >> number & 1 || prctl(PR_CAPBSET_READ, number, 0, 0, 0) != 1) continue;
        if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0) return cwl_result(-1);
    }
    return 0;
}

int64_t cwl_capabilities_limit(uint64_t kept) {
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) != 0) return cwl_result(-1);
    for (int half = 0; half < 2; half++) {
        data[half].permitted &= (uint32_t)(kept >> (32 * half));
        data[half].effective = data[half].permitted;
        data[half].inheritable = 0;
    }
    return cwl_capset(data);
}

int64_t cwl_no_new_privileges(void) { return cwl_result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }

int64_t cwl_has_no_new_privileges(void) { return cwl_result(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)); }

int64_t cwl_no_dumps(void) {
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0) return cwl_result(-1);
    return cwl_result(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

int64_t cwl_memory_lock_limit(uint64_t wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return cwl_result(-1);
    if (limit.rlim_cur < wanted) {
        struct rlimit more = {.rlim_cur = wanted, .rlim_max = limit.rlim_max < wanted ? wanted : limit.rlim_max};
        if (setrlimit(RLIMIT_MEMLOCK, &more) != 0) {
            more.rlim_cur = more.rlim_max = limit.rlim_max;
            (void)setrlimit(RLIMIT_MEMLOCK, &more);
        }
        if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return cwl_result(-1);
    }
    return limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

int64_t cwl_thread_count(void) {
    DIR *directory = opendir("/proc/self/task");
    if (directory == NULL) return cwl_result(-1);
    int64_t count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

int64_t cwl_give_path(const char *path, const struct cwl_file_status *known, uint32_t user, uint32_t group) {
    int place = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (place < 0) return cwl_result(-1);
    struct cwl_file_status found;
    int64_t result = cwl_status_of_descriptor(place, &found);
    if (result == 0 && (found.device != known->device || found.inode != known->inode)) result = -ESTALE;
    if (result == 0) result = cwl_result(fchownat(place, "", user, group, AT_EMPTY_PATH));
    close(place);
    return result;
}

// ---- Landlock. The numbers are the kernel's, so that older headers will do.

struct cwl_landlock_rules {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};

struct cwl_landlock_path {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));

enum {
    CWL_FS_WRITE_FILE = 1 << 1,
    CWL_FS_READ_FILE = 1 << 2,
    CWL_FS_READ_DIR = 1 << 3,
    CWL_FS_REMOVE_FILE = 1 << 5,
};

static inline long cwl_landlock_call(int which, long a, long b, long c, long d) {
    return syscall(444 + which, a, b, c, d);  // create_ruleset, add_rule, restrict_self: the same on every architecture
}

int64_t cwl_landlock_version(void) { return cwl_result(cwl_landlock_call(0, 0, 0, 1, 0)); }

int64_t cwl_landlock_create(int64_t version) {
    struct cwl_landlock_rules rules = {0};
    rules.handled_access_fs = (1u << 13) - 1;                  // version 1
    if (version >= 2) rules.handled_access_fs |= 1u << 13;      // REFER
    if (version >= 3) rules.handled_access_fs |= 1u << 14;      // TRUNCATE
    if (version >= 5) rules.handled_access_fs |= 1u << 15;      // IOCTL_DEV
    if (version >= 6) rules.scoped = 3;                         // abstract unix sockets, signals
    size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    return cwl_result(cwl_landlock_call(0, (long)&rules, (long)size, 0, 0));
}

int64_t cwl_landlock_allow(int rules, int64_t version, const char *path, int what) {
    int place = open(path, O_PATH | O_CLOEXEC);
    if (place < 0) return cwl_result(-1);
    struct stat status;
    int64_t result = cwl_result(fstat(place, &status));
    if (result == 0) {
        uint64_t access = 0;
        if (what & CWL_ALLOW_READ) access |= CWL_FS_READ_FILE;
        if (what & CWL_ALLOW_WRITE) access |= CWL_FS_WRITE_FILE | (version >= 3 ? 1u << 14 : 0);
        // A rule for a file may not speak of directories.
        if (S_ISDIR(status.st_mode)) {
            if (what & CWL_ALLOW_LIST) access |= CWL_FS_READ_DIR;
            if (what & CWL_ALLOW_REMOVE) access |= CWL_FS_REMOVE_FILE;
        }
        struct cwl_landlock_path rule = {.allowed_access = access, .parent_fd = place};
        result = access == 0 ? 0 : cwl_result(cwl_landlock_call(1, rules, 1, (long)&rule, 0));
    }
    close(place);
    return result;
}

int64_t cwl_landlock_enforce(int rules) { return cwl_result(cwl_landlock_call(2, rules, 0, 0, 0)); }

// ---- seccomp

// What is refused: running programs and making processes; looking into other processes; changing mounts, namespaces, modules, the
// kernel, the clock and the machine; keys of the kernel's; owners, modes, times and attributes of files, which Landlock leaves
// alone and a root without capabilities has of all that is root's; and the large interfaces that a gateway has no use for.
static const int cwl_refused[] = {
    SYS_execve, SYS_execveat,
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp,
    438 /* pidfd_getfd */, 440 /* process_madvise */,
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_quotactl, SYS_swapon, SYS_swapoff,
    428 /* open_tree */, 429 /* move_mount */, 430 /* fsopen */, 431 /* fsconfig */, 432 /* fsmount */, 433 /* fspick */,
    442 /* mount_setattr */, 443 /* quotactl_fd */,
    SYS_unshare, SYS_setns,
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_syslog, SYS_acct, SYS_reboot,
    SYS_add_key, SYS_request_key, SYS_keyctl,
    SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_sethostname, SYS_setdomainname,
    SYS_name_to_handle_at, SYS_open_by_handle_at, SYS_fanotify_init, SYS_mknodat, SYS_personality, SYS_vhangup,
    SYS_migrate_pages, SYS_move_pages,
    425 /* io_uring_setup */, 426 /* io_uring_enter */, 427 /* io_uring_register */,
    SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setgroups, SYS_setfsuid,
    SYS_setfsgid, SYS_capset,
    SYS_fchmod, SYS_fchmodat, 452 /* fchmodat2 */, SYS_fchown, SYS_fchownat, SYS_utimensat,
    SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
    463 /* setxattrat */, 466 /* removexattrat */, 469 /* file_setattr */, SYS_socketpair,
#ifdef SYS_chmod
    SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat,
#endif
#ifdef SYS_fork
    SYS_fork, SYS_vfork,
#endif
#ifdef SYS_mknod
    SYS_mknod,
#endif
#ifdef SYS_iopl
    SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_uselib, SYS_ustat,
#endif
};

#if defined(__x86_64__)
#define CWL_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define CWL_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

int64_t cwl_seccomp_enforce(void) {
#ifndef CWL_ARCHITECTURE
    return -ENOSYS;
#else
    enum { refusals = sizeof cwl_refused / sizeof *cwl_refused };
    const uint32_t refuse = SECCOMP_RET_ERRNO | EPERM;
    struct sock_filter program[refusals * 2 + 24];
    unsigned short n = 0;
    // Another architecture's numbers mean other calls: none of those.
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CWL_ARCHITECTURE, 1, 0);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refuse);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
#if defined(__x86_64__)
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1);  // x32
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refuse);
#endif
    for (int index = 0; index < refusals; index++) {
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)cwl_refused[index], 0, 1);
        program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refuse);
    }
    // No sockets of this machine's other services: some of them do for root whatever they are asked. The listener is open by
    // then.
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 4);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args));
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refuse);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    // clone3 hides its flags in memory: without it the C library uses clone, of which only threads are made.
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 435, 0, 1);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args));
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x00010000u, 1, 0);  // CLONE_THREAD
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refuse);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = {.len = n, .filter = program};
    // SPEC_ALLOW: kernels before 5.16 otherwise slow every thread under a filter down, against attacks that need code to be run
    // here.
    long result = syscall(
        SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter);
    return result > 0 ? -ESRCH : cwl_result(result);
#endif
}

int64_t cwl_seccomp_mode(void) { return cwl_result(prctl(PR_GET_SECCOMP, 0, 0, 0, 0)); }

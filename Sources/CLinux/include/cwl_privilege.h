// Giving up what a process was started with: users, capabilities, core dumps, Landlock rules, and a seccomp filter.
// Everything here is in privilege.c. What it changes belongs to a thread, unless its comment says otherwise: it is meant
// for the moment at which the process has one.

#ifndef CWL_PRIVILEGE_H
#define CWL_PRIVILEGE_H

#include "cwl_system.h"

/// The number of a user and of its first group, by the name service; -ENOENT when there is no such user.
int64_t cwl_user_find(const char *name, uint32_t *user, uint32_t *group);

/// The number of a group; -ENOENT when there is no such group.
int64_t cwl_group_find(const char *name);

/// The name of a user, at most `room` octets with its end; -ENOENT when it has none.
int64_t cwl_user_name(uint32_t user, char *name, size_t room);

static inline int64_t cwl_user_effective(void) { return geteuid(); }

/// Becomes a user for good, real, effective and saved, with that one group and no supplementary ones. All threads. The calling
/// thread may keep its permitted capabilities, for cwl_capabilities_limit to choose from; all others are lost with root. Whoever
/// is that user already and may not give groups up keeps them: the result is how many others than `group` there are.
int64_t cwl_become(uint32_t user, uint32_t group, int keeps_capabilities);

/// The effective capabilities, one bit each.
int64_t cwl_capabilities(uint64_t *effective);

/// The bounding set, one bit each.
uint64_t cwl_capabilities_bounding(void);

/// Empties the bounding set but for `kept`. -EPERM without CAP_SETPCAP.
int64_t cwl_capabilities_bound(uint64_t kept);

/// Gives up every capability but those of `kept`: effective, permitted, inheritable and ambient.
int64_t cwl_capabilities_limit(uint64_t kept);

/// No program that is run from here on gets more than this process has (PR_SET_NO_NEW_PRIVS).
int64_t cwl_no_new_privileges(void);

/// 1 where that is in force.
int64_t cwl_has_no_new_privileges(void);

/// No core dumps; other processes of the same user can neither trace this one nor read its memory. The process.
int64_t cwl_no_dumps(void);

/// How many octets may be locked in memory, after raising the limit to `wanted` as far as that is allowed. The process.
int64_t cwl_memory_lock_limit(uint64_t wanted);

/// Threads that the process has.
int64_t cwl_thread_count(void);

/// Gives a file or a socket to a user and a group.
static inline int64_t cwl_give_descriptor(int fd, uint32_t user, uint32_t group) {
    return cwl_result(fchown(fd, user, group));
}

/// Gives what is at a path to a user and a group if it is what `known` describes; a symbolic link is not followed.
int64_t cwl_give_path(const char *path, const struct cwl_file_status *known, uint32_t user, uint32_t group);

// ---- Landlock (Documentation/userspace-api/landlock.rst)

/// What of the file system is left: or them together.
enum {
    CWL_ALLOW_READ = 1,    // files
    CWL_ALLOW_LIST = 2,    // directories
    CWL_ALLOW_WRITE = 4,   // files that exist
    CWL_ALLOW_REMOVE = 8,  // files, from a directory
};

/// The kernel's version of the interface; -EOPNOTSUPP or -ENOSYS where it has none.
int64_t cwl_landlock_version(void);

/// A set of rules that allows nothing of the file system; a descriptor.
int64_t cwl_landlock_create(int64_t version);

/// Allows something at a path and below. -ENOENT where there is no such path.
int64_t cwl_landlock_allow(int rules, int64_t version, const char *path, int what);

/// Puts the rules in force. Needs cwl_no_new_privileges.
int64_t cwl_landlock_enforce(int rules);

// ---- seccomp (Documentation/userspace-api/seccomp_filter.rst)

/// Refuses, with EPERM, what a gateway never does once it runs: see the list in privilege.c. All threads. Needs
/// cwl_no_new_privileges. -ENOSYS on a processor for which there is no list.
int64_t cwl_seccomp_enforce(void);

/// 2 where a filter is in force.
int64_t cwl_seccomp_mode(void);

#endif

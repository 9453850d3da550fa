// libpcap, as the system installs it (Debian: libpcap-dev).
#include <pcap/pcap.h>
#include <stdio.h>
#include <sys/types.h>

// fopencookie(3), a stdio stream over functions: libpcap reads capture files from a stdio stream only. The C library
// declares it for _GNU_SOURCE, which the Swift importer does not define; this declaration has the same layout.
typedef struct {
    ssize_t (*read)(void *cookie, char *buffer, size_t count);
    ssize_t (*write)(void *cookie, const char *buffer, size_t count);
    int (*seek)(void *cookie, void *offset, int whence);
    int (*close)(void *cookie);
} cpcap_stream_functions;

extern FILE *cpcap_open_stream(void *cookie, const char *mode, cpcap_stream_functions functions) __asm__("fopencookie");

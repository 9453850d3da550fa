// libpcap, as the system installs it (Debian: libpcap-dev).
#include <pcap/pcap.h>

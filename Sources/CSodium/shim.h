// libsodium, as the system installs it (Debian: libsodium-dev).
#include <sodium.h>

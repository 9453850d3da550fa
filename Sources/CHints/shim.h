// What a processor may be told and Swift has no word for.
#ifndef CHINTS_H
#define CHINTS_H

// Fetch the cache line at `address`: it will be read soon. Harmless whatever the address.
static inline void ch_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

#endif

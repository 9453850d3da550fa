// Counts the calls to the C library's allocator, of whatever library of the program they come: this target's `malloc` and its
// like take the place of the C library's, and pass each call on to it. For programs that measure, and for no other.
#ifndef CALLOCATIONS_H
#define CALLOCATIONS_H

#include <stdint.h>

// Blocks that this thread has asked for since it began: malloc, calloc, realloc and the aligned ones. What is freed is not counted.
uint64_t cal_allocations(void);

#endif

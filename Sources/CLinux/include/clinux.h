// The umbrella of CLinux: what Linux offers only as C macros, packed or union structures, ioctls and control messages,
// as static inline functions that Swift can import (where they cannot be inline: in clinux.c). No logic lives here.
// Conventions of every function:
//
//   - the name begins with `cwl_`;
//   - the result is zero or positive when it worked, and the negated errno when it did not;
//   - nothing is allocated or kept: a pointer argument is used during the call only, unless its comment says otherwise.

#ifndef CWL_CLINUX_H
#define CWL_CLINUX_H

#include "cwl_system.h"
#include "cwl_device.h"
#include "cwl_message.h"
#include "cwl_packet.h"
#include "cwl_privilege.h"

#endif

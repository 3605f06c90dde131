package notify

import "golang.org/x/sys/unix"

const sysCreat = 1<<32 - 1 // there is none

// oldPathCalls are those whose names are of this architecture.
var oldPathCalls = []PathCall{{Nr: unix.SYS_FSTATAT, use: Look, dir: 0, path: 1, flags: -1, at: 3}}

const auditArch = unix.AUDIT_ARCH_AARCH64

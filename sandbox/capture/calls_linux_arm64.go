package capture

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// pathCalls are the system calls that name a file, as far as a root is concerned.
var pathCalls = append([]pathCall{{nr: unix.SYS_FSTATAT, dir: 0, path: 1, flags: -1, how: looked}}, atCalls...)

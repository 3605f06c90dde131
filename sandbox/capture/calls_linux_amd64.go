package capture

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// pathCalls are the system calls that name a file, as far as a root is concerned.
var pathCalls = append([]pathCall{
	{nr: unix.SYS_OPEN, dir: -1, path: 0, flags: 1, how: opened},
	{nr: unix.SYS_CREAT, dir: -1, path: 0, flags: -1, how: opened},
	{nr: unix.SYS_STAT, dir: -1, path: 0, flags: -1, how: looked},
	{nr: unix.SYS_LSTAT, dir: -1, path: 0, flags: -1, how: looked},
	{nr: unix.SYS_ACCESS, dir: -1, path: 0, flags: -1, how: looked},
	{nr: unix.SYS_READLINK, dir: -1, path: 0, flags: -1, how: looked},
	{nr: unix.SYS_NEWFSTATAT, dir: 0, path: 1, flags: -1, how: looked},
}, atCalls...)

package notify

import "golang.org/x/sys/unix"

const sysCreat = unix.SYS_CREAT

// oldPathCalls are those that newer architectures do not have.
var oldPathCalls = []PathCall{
	{Nr: unix.SYS_OPEN, use: Open, dir: -1, path: 0, flags: 1, at: -1},
	{Nr: unix.SYS_CREAT, use: Open, dir: -1, path: 0, flags: -1, at: -1},
	{Nr: unix.SYS_STAT, use: Look, dir: -1, path: 0, flags: -1, at: -1},
	{Nr: unix.SYS_LSTAT, use: Look, dir: -1, path: 0, flags: -1, at: -1, link: true},
	{Nr: unix.SYS_ACCESS, use: Look, dir: -1, path: 0, flags: -1, at: -1},
	{Nr: unix.SYS_READLINK, use: Look, dir: -1, path: 0, flags: -1, at: -1, link: true},
	{Nr: unix.SYS_NEWFSTATAT, use: Look, dir: 0, path: 1, flags: -1, at: 3},
}

const auditArch = unix.AUDIT_ARCH_X86_64

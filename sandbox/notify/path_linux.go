package notify

import (
	"bytes"
	"encoding/binary"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxPath is the kernel's PATH_MAX: it takes no longer ones.
const maxPath = 4096

// A Use is what a system call does with the file that it names.
type Use int

// Uses, weakest first.
const (
	Look    Use = iota + 1 // stat, access, readlink
	Open                   // or list
	Execute                // a program, or a script's interpreter
)

// A PathCall is a system call that names a file.
type PathCall struct {
	Nr  uint32
	use Use
	// Numbers of arguments, -1 for none: a directory's descriptor, the path, flags of open(2),
	// flags of the other calls (AT_).
	dir, path, flags, at int
	link                 bool // it is about the link itself
}

// PathCalls are the system calls that name a file which has to be there, as far as a root is
// concerned.
var PathCalls = append(oldPathCalls, []PathCall{
	{Nr: unix.SYS_OPENAT, use: Open, dir: 0, path: 1, flags: 2, at: -1},
	{Nr: unix.SYS_OPENAT2, use: Open, dir: 0, path: 1, flags: -1, at: -1},
	{Nr: unix.SYS_STATX, use: Look, dir: 0, path: 1, flags: -1, at: 2},
	{Nr: unix.SYS_FACCESSAT, use: Look, dir: 0, path: 1, flags: -1, at: -1},
	{Nr: unix.SYS_FACCESSAT2, use: Look, dir: 0, path: 1, flags: -1, at: 3},
	{Nr: unix.SYS_READLINKAT, use: Look, dir: 0, path: 1, flags: -1, at: -1, link: true},
	{Nr: unix.SYS_EXECVE, use: Execute, dir: -1, path: 0, flags: -1, at: -1},
	{Nr: unix.SYS_EXECVEAT, use: Execute, dir: 0, path: 1, flags: -1, at: 4},
}...)

// PathCall returns which of PathCalls the call is, nil if none. Numbers are those of this
// program's architecture.
func (c *Call) PathCall() *PathCall {
	for i := range PathCalls {
		if int32(PathCalls[i].Nr) == c.Nr {
			return &PathCalls[i]
		}
	}
	return nil
}

// Use is what the call does with its path.
func (p *PathCall) Use(c *Call) Use {
	if p.open(c, unix.O_PATH) {
		return Look
	}
	return p.use
}

// Makes reports whether the call makes the file if it is not there.
func (p *PathCall) Makes(c *Call) bool { return p.open(c, unix.O_CREAT) || p.Nr == sysCreat }

// Lists reports whether the call opens a directory, which it says when it is to be listed.
func (p *PathCall) Lists(c *Call) bool { return p.open(c, unix.O_DIRECTORY) && !p.open(c, unix.O_PATH) }

// Link reports whether the call is about the link itself if its path leads to one.
func (p *PathCall) Link(c *Call) bool {
	return p.link || p.open(c, unix.O_NOFOLLOW) || p.at >= 0 && c.Args[p.at]&unix.AT_SYMLINK_NOFOLLOW != 0
}

// Empty reports whether the call's path may be empty, since it is about its descriptor.
func (p *PathCall) Empty(c *Call) bool { return p.at >= 0 && c.Args[p.at]&unix.AT_EMPTY_PATH != 0 }

func (p *PathCall) open(c *Call, flag uint64) bool { return p.flags >= 0 && c.Args[p.flags]&flag != 0 }

// Path returns the path that the call names, not cleaned: an absolute one as the process says it,
// which may have another root; before a relative one stands its directory as the caller sees it.
// It is "" if it cannot be read, or there is none (AT_EMPTY_PATH).
func (p *PathCall) Path(c *Call) (name string, relative bool) {
	name, _ = text(int(c.Pid), uintptr(c.Args[p.path]), maxPath)
	if name == "" || path.IsAbs(name) {
		return name, false
	}
	base := "/proc/" + strconv.Itoa(int(c.Pid)) + "/cwd"
	if p.dir >= 0 && int32(c.Args[p.dir]) != unix.AT_FDCWD {
		base = "/proc/" + strconv.Itoa(int(c.Pid)) + "/fd/" + strconv.Itoa(int(int32(c.Args[p.dir])))
	}
	dir, err := os.Readlink(base)
	if err != nil || !path.IsAbs(dir) {
		return "", true
	}
	return dir + "/" + name, true
}

// maxWord is the longest word that the kernel passes to a program (execve(2), MAX_ARG_STRLEN).
const maxWord = 128 << 10

// text reads a string that ends in NUL from another process, page by page, for the next page may
// not be there; false if it cannot be read, or is longer than most bytes and a page.
func text(pid int, at uintptr, most int) (string, bool) {
	page := os.Getpagesize()
	var all []byte
	for len(all) <= most {
		b := make([]byte, page-int(at)%page)
		local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
		n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: at, Len: len(b)}}, 0)
		if err != nil || n <= 0 {
			return "", false
		}
		if end := bytes.IndexByte(b[:n], 0); end >= 0 {
			return string(append(all, b[:end]...)), true
		}
		all = append(all, b[:n]...)
		at += uintptr(n)
	}
	return "", false
}

// Words returns the words of the command that a call executes, at most that many; nil if they cannot be
// read or the call executes nothing.
func (p *PathCall) Words(c *Call, most int) (words []string) {
	if p.use != Execute {
		return nil
	}
	const pointer = 8 // bytes; of every architecture that this is for
	at := uintptr(c.Args[p.path+1])
	for range most {
		var b [pointer]byte
		local := []unix.Iovec{{Base: &b[0], Len: pointer}}
		n, err := unix.ProcessVMReadv(int(c.Pid), local, []unix.RemoteIovec{{Base: at, Len: pointer}}, 0)
		word := uintptr(binary.NativeEndian.Uint64(b[:]))
		switch {
		case err != nil || n != pointer:
			return nil
		case word == 0:
			return words
		}
		text, ok := text(int(c.Pid), word, maxWord)
		if !ok {
			return nil
		}
		words = append(words, text)
		at += pointer
	}
	return words
}

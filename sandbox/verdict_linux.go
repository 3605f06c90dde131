package sandbox

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// verdict tells how the command ended: nil if well. The error is the sandbox's own.
func (r *run) verdict() (*wire.Failure, error) {
	p := &r.reply
	z := r.slot.zygote
	if p.Trouble != nil {
		z.roots = [keptRoots]mountedRoot{} // any may be half mounted
		if !p.Trouble.Cause.Task() {
			r.slot.stop()
			return nil, p.Trouble
		}
		return &wire.Failure{Cause: p.Trouble.Cause, Message: p.Trouble.Message, Hint: p.Trouble.Hint}, nil
	}
	ws := unix.WaitStatus(p.Status)
	// What hit a limit has not computed what it would have without, whatever its exit code says.
	switch {
	case r.late:
		return &wire.Failure{Cause: wire.CauseTimeout,
			Message: fmt.Sprintf("the command ran longer than its timeout of %v", r.limits.Wall),
			Hint:    "give it a longer timeout"}, nil
	case p.Starved, z.group != nil && z.group.outOfMemory():
		return r.outOfMemory(), nil
	case z.group != nil && z.group.outOfPids():
		return &wire.Failure{Cause: wire.CauseProcesses, Hint: "have it start fewer at once",
			Message: fmt.Sprintf("the command needed more than %d processes and threads at once",
				r.limits.Pids)}, nil
	case p.Full:
		return &wire.Failure{Cause: wire.CauseOutputBound, Exit: max(0, ws.ExitStatus()),
			Hint: "have it write less, or in several tasks",
			Message: fmt.Sprintf("the command filled /job or /tmp, which hold %d bytes and %d files",
				r.limits.OutputBytes, r.limits.OutputFiles)}, nil
	case ws.Signaled():
		return r.signalled(ws.Signal()), nil
	case ws.ExitStatus() != 0:
		return r.exited(ws.ExitStatus()), nil
	}
	return nil, nil
}

func (r *run) outOfMemory() *wire.Failure {
	return &wire.Failure{Cause: wire.CauseMemory, Signal: int(unix.SIGKILL),
		Message: fmt.Sprintf("the command needed more memory than its limit of %s (files it writes count); "+
			"it had %s at its peak", mebibytes(r.limits.MemBytes), mebibytes(r.peak())),
		Hint: "give it more memory"}
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

func (r *run) signalled(s syscall.Signal) *wire.Failure {
	f := &wire.Failure{Cause: wire.CauseSignal, Signal: int(s),
		Message: fmt.Sprintf("the command was ended by signal %d (%v)", int(s), s)}
	for _, d := range r.reply.Denials {
		if d.Killed && s == unix.SIGKILL {
			f.Signal = int(unix.SIGSYS) // as the kernel's filter would
			f.Message = "the sandbox ended the command for a system call, " + d.Name
			f.Hint = d.Why
			return f
		}
	}
	f.Hint = deniedHint(r.reply.Denials)
	return f
}

func (r *run) exited(code int) *wire.Failure {
	f := &wire.Failure{Cause: wire.CauseExit, Exit: code,
		Message: fmt.Sprintf("the command ended with exit code %d", code)}
	line := r.out[1].lastLine()
	if line != "" {
		f.Message += ": " + line
	}
	f.Hint = deniedHint(r.reply.Denials)
	switch name := lookedFor(code, line); {
	case name != "":
		f.Hint = fmt.Sprintf("not in the root: looked for %q; add it to tools or to include", name)
	case code == 127:
		f.Hint = "this code often means that a program is not in the root: add it to tools"
	case netless.MatchString(line):
		f.Hint = "a task has no network: declare what it needs as inputs (network: overlay reaches the tasks of its gang only)"
	}
	return f
}

// netless is what programs say of the network that is not there, in musl's and glibc's words.
var netless = regexp.MustCompile(`(?i)could(?:n't| not) resolve host|name or service not known|name does not resolve|temporary failure in name resolution|` +
	`network is unreachable|no route to host`)

// lookedFor returns what a shell, env or the dynamic linker says that it did not find; "" if the
// line is of another kind. They all do so last.
func lookedFor(code int, line string) string {
	if _, rest, ok := strings.Cut(line, "error while loading shared libraries: "); ok {
		name, _, _ := strings.Cut(rest, ":")
		return name
	}
	if code != 127 {
		return ""
	}
	for _, end := range []string{": command not found", ": not found", ": No such file or directory"} {
		if before, ok := strings.CutSuffix(line, end); ok {
			return strings.Trim(before[strings.LastIndex(before, " ")+1:], "'\"`‘’")
		}
	}
	return ""
}

// peak returns the most memory the command had, as far as somebody counted.
func (r *run) peak() int64 {
	n := max(r.reply.MaxRSS, r.reply.Peak)
	if z := r.slot.zygote; z != nil && z.group != nil {
		n = max(n, z.group.peakBytes())
	}
	return n
}

// report puts a Report together. f may be nil.
func (r *run) report(f *wire.Failure) Report {
	_, frozen := r.pause.Frozen()
	rep := Report{
		Failure: f,
		Stdout:  r.out[0].end(),
		Stderr:  r.out[1].end(),
		Run:     max(0, time.Duration(r.reply.Run)-frozen),
		Frozen:  frozen,
		CPU:     time.Duration(r.reply.User + r.reply.System),
		PeakMem: r.peak(),
		Lookups: r.reply.Lookups,
	}
	if f != nil {
		f.Stdout, f.Stderr = rep.Stdout, rep.Stderr
		if f.Cause == wire.CauseMemory {
			rep.PeakMem = max(rep.PeakMem, r.limits.MemBytes)
		}
	}
	return rep
}

package sandbox

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

func TestSessionPipes(t *testing.T) {
	b := newBench(t, 1)
	input := writeFile(t, t.TempDir()+"/in", "input", 0o444)
	var out, errs bytes.Buffer
	long := strings.Repeat("0123456789abcde\n", 1<<16)
	r := b.run(Spec{
		Argv:    []string{"sh", "-c", "cat; cat a/in >&2; echo more >>b; cat b >&2; exit 7"},
		Inputs:  []Input{{Path: "a/in", Source: input}, {Path: "b", Source: input}},
		Outputs: []wire.Output{{Path: "b", Kind: wire.File}, {Path: "not there", Kind: wire.File}},
		Limits:  Limits{StreamBytes: 10}, Stdout: &out, Stderr: &errs,
		Session: &Session{Stdin: strings.NewReader(long)},
	})
	if r.Failure == nil || r.Failure.Exit != 7 || r.Outputs != nil {
		t.Errorf("report = %+v, want exit code 7 alone", r.Failure)
	}
	if out.String() != long {
		t.Errorf("standard output has %d bytes, want the %d of the input", out.Len(), len(long))
	}
	if got := errs.String(); got != "inputinputmore\n" {
		t.Errorf("standard error = %q", got)
	}
	r = b.run(Spec{Argv: []string{"cat"}, Session: new(Session)})
	if r.Failure != nil || len(r.Stdout) > 0 {
		t.Errorf("without input: %+v", r)
	}
}

// openPty returns a terminal as a person has one, and what they see of it and type on it.
func openPty(t *testing.T) (terminal, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals: ", err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip("no terminals: ", err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip("no terminals: ", err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals: ", err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal, person
}

// A typist types on a terminal and reads what it shows.
type typist struct {
	t      *testing.T
	person *os.File
	seen   chan string
	text   string
}

func newTypist(t *testing.T, person *os.File) *typist {
	p := &typist{t: t, person: person, seen: make(chan string, 100)}
	go func() {
		defer close(p.seen)
		buf := make([]byte, 4096)
		for {
			n, err := person.Read(buf)
			if err != nil {
				return
			}
			p.seen <- string(buf[:n])
		}
	}()
	return p
}

// until waits for a text that was not there when the last one was found.
func (p *typist) until(want string) {
	p.t.Helper()
	for late := time.After(30 * time.Second); ; {
		if _, rest, ok := strings.Cut(p.text, want); ok {
			p.text = rest
			return
		}
		select {
		case s, ok := <-p.seen:
			if !ok {
				p.t.Fatalf("the terminal was closed; it showed %q, want %q", p.text, want)
			}
			p.text += s
		case <-late:
			p.t.Fatalf("the terminal shows %q, want %q", p.text, want)
		}
	}
}

func (p *typist) types(s string) {
	p.t.Helper()
	if _, err := p.person.WriteString(s); err != nil {
		p.t.Fatal(err)
	}
}

func TestSessionTerminal(t *testing.T) {
	terminal, person := openPty(t)
	e, err := New(Config{Dir: t.TempDir(), Slots: 1, Terminals: true})
	if err != nil {
		t.Skip(err)
	}
	defer e.Close()
	root := testRoot(t, nil)
	for _, name := range []string{"stty", "tty"} {
		p, err := exec.LookPath(name)
		if err != nil {
			t.Skip(err)
		}
		copyPrograms(t, root, map[string]string{p: "/bin/" + name})
	}
	before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	size := func(rows, cols uint16) {
		if err := unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
			t.Fatal(err)
		}
	}
	size(33, 101)
	p := newTypist(t, person)
	ended := make(chan Report)
	go func() {
		r, err := e.Run(context.Background(), Spec{Root: root, Argv: []string{"bash", "--norc", "-i"},
			Env: []string{"PS1=ready>", "TERM=dumb"}, Session: &Session{Terminal: terminal}})
		if err != nil {
			t.Error(err)
		}
		ended <- r
	}()
	p.until("ready>")
	p.types("tty; stty size; echo x >/dev/tty; echo $(( 6 * 7 ))\n")
	p.until("/dev/pts/0\r\n33 101\r\nx\r\n42\r\n")
	size(44, 99)
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil { // as the terminal does to its foreground group
		t.Fatal(err)
	}
	p.types("until [ \"$(stty size)\" = '44 99' ]; do sleep 0.01; done; echo size-$((1+1))\n")
	p.until("size-2")
	p.until("ready>")
	p.types("sh -c 'echo now-$((1+1)); exec sleep 1000'\n") // it is in the foreground when it says so
	p.until("now-2")
	p.types("\x03")
	p.until("ready>")
	p.types("echo code-$?; sh -c 'echo again-$((1+1)); exec sleep 1000'\n")
	p.until("code-130")
	p.until("again-2")
	p.types("\x1a")
	p.until("Stopped")
	p.until("ready>")
	p.types("kill %1; wait %1; (sleep 1000 &); exit 9\n")
	r := <-ended
	if r.Failure == nil || r.Failure.Exit != 9 {
		t.Errorf("the shell ended with %+v, want exit code 9", r.Failure)
	}
	after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the person's terminal is left in another mode: %+v, was %+v (%v)", after, before, err)
	}
	// The slot serves others as if nothing had been.
	r, err = e.Run(context.Background(), Spec{Root: root, Argv: []string{"sh", "-c", "tty </dev/tty"}})
	if err != nil || r.Failure == nil || !strings.Contains(string(r.Stderr), "/dev/tty") {
		t.Errorf("a run without a session can open a terminal: %+v, %v", r, err)
	}
}

func TestSessionKilled(t *testing.T) {
	terminal, person := openPty(t)
	e, err := New(Config{Dir: t.TempDir(), Slots: 1, Terminals: true})
	if err != nil {
		t.Skip(err)
	}
	defer e.Close()
	p := newTypist(t, person)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error)
	go func() {
		_, err := e.Run(ctx, Spec{Root: testRoot(t, nil), Argv: []string{"sh", "-c", "echo be''gun; sleep 1000"},
			Session: &Session{Terminal: terminal}})
		ended <- err
	}()
	p.until("begun")
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("Run = %v, want %v", err, context.Canceled)
	}
}

func TestTerminalsNotAsked(t *testing.T) {
	terminal, _ := openPty(t)
	b := newBench(t, 1)
	_, err := b.e.Run(context.Background(), Spec{Root: b.root, Argv: []string{"true"}, Session: &Session{Terminal: terminal}})
	if wire.CauseOf(err) != wire.CauseInternal {
		t.Errorf("Run = %v, want an internal error", err)
	}
	if got := b.sh("ls /dev", Spec{}); got != "fd\nfull\nnull\nrandom\nshm\nstderr\nstdin\nstdout\nurandom\nzero" {
		t.Errorf("/dev has %q", got)
	}
}

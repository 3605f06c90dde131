package sandbox

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gaggle/wire"
)

// A store is a directory of inputs of every kind, of which nothing may change.
type store struct {
	dir    string
	inputs []Input
	before string
}

func newStore(t *testing.T) *store {
	s := &store{dir: t.TempDir()}
	small, large := "small", strings.Repeat("x", 100_000)
	for name, text := range map[string]string{"small": small, "large": large, "tree/f": small,
		"tree/d/g": large, "wtree/f": small, "wsmall": small, "wlarge": large} {
		writeFile(t, filepath.Join(s.dir, name), text, 0o444)
	}
	for _, name := range []string{"small", "large", "tree", "wtree", "wsmall", "wlarge"} {
		s.inputs = append(s.inputs, Input{Path: "in/" + name, Source: filepath.Join(s.dir, name),
			Dir: strings.HasSuffix(name, "tree"), Writable: name[0] == 'w'})
	}
	s.before = s.sum(t)
	return s
}

// sum draws names, modes, times and contents of all that is in the store.
func (s *store) sum(t *testing.T) string {
	var b strings.Builder
	err := filepath.WalkDir(s.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, p, i.Mode(), i.ModTime())
		if i.Mode().IsRegular() {
			text, err := os.ReadFile(p)
			fmt.Fprintf(&b, "%x %v\n", wire.Sum(text), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestHostile runs programs that want out, or more than their share. Each ends with a typed
// cause; the store stays as it is; the next command in the slot finds nothing of them.
func TestHostile(t *testing.T) {
	b := newBench(t, 1)
	s := newStore(t)
	root := (&store{dir: b.root}).sum(t)
	none := wire.CauseUnknown // it ends well, having got nowhere
	out := []wire.Output{{Path: "out", Kind: wire.Dir}}
	outFile := []wire.Output{{Path: "out", Kind: wire.File}}
	forks := Limits{Pids: 60, Wall: 30 * time.Second}
	bombs := Limits{Pids: 60, MemBytes: 64 << 20, Wall: 30 * time.Second}
	bounds := Limits{OutputBytes: 16 << 20, OutputFiles: 5_000}
	for _, c := range []struct {
		argv   string
		outs   []wire.Output
		limits Limits
		want   wire.Cause
	}{
		{"probe refusals", nil, Limits{}, none},
		{"probe zygote", nil, Limits{}, none},
		{"probe leave", nil, Limits{}, none},
		{"probe smuggle", nil, Limits{}, none},
		{"probe flee", nil, Limits{Pids: 200}, none},
		{"probe deface in in/small in/large in/tree in/tree/f in/tree/d/g in/wtree/f in/wsmall in/wlarge /bin/sh /",
			nil, Limits{}, none},
		{"probe privy", outFile, Limits{}, none},

		{"probe bomb", nil, forks, wire.CauseProcesses},
		{"probe threads 100000", nil, forks, wire.CauseProcesses},
		{"dd if=/dev/zero of=/dev/null bs=300M", nil, bombs, wire.CauseMemory},
		{"probe bytes /tmp/x 300", nil, bombs, wire.CauseMemory},
		{"probe memfd", nil, bombs, wire.CauseMemory},
		{"sleep 1000", nil, Limits{Wall: 50 * time.Millisecond}, wire.CauseTimeout},
		{"yes", nil, Limits{Wall: 200 * time.Millisecond, StreamBytes: 1000}, wire.CauseTimeout},

		{"probe bytes out 10240", outFile, bounds, wire.CauseOutputBound},
		{"probe files 1000000", out, bounds, wire.CauseOutputBound},
		{"probe depth", out, bounds, wire.CauseOutputBound},
		{"probe flood 100", []wire.Output{{Path: wire.Stdout, Kind: wire.File}}, bounds, wire.CauseOutputBound},
		{"probe hostile sparse", outFile, bounds, wire.CauseOutputBound},
		{"probe hostile fifo", outFile, Limits{}, wire.CauseOutputInvalid},
		{"probe hostile socket", outFile, Limits{}, wire.CauseOutputInvalid},
		{"probe hostile device", outFile, Limits{}, wire.CauseOutputInvalid},
		{"ln -s /etc/passwd out", outFile, Limits{}, wire.CauseOutputInvalid},
		{"ln -s ../../etc out", out, Limits{}, wire.CauseOutputInvalid},
		{"ln /bin/sh out", outFile, Limits{}, wire.CauseExit},
		{"ln in/small out", outFile, Limits{}, none}, // a copy of the job's own
		{"ln in/large out", outFile, Limits{}, wire.CauseExit},
	} {
		t.Run(c.argv, func(t *testing.T) {
			b := *b
			b.t = t
			if c.want == wire.CauseProcesses && b.e.groups.pids == "" {
				c.want = wire.CauseExit
			}
			r := b.run(Spec{Argv: strings.Fields(c.argv), Inputs: s.inputs, Outputs: c.outs, Limits: c.limits})
			switch f := r.Failure; {
			case f == nil && c.want != none, f != nil && f.Cause != c.want:
				t.Errorf("ended with %+v, want %v", f, c.want)
			case f != nil && f.Hint == "" && c.want != wire.CauseExit:
				t.Errorf("no hint: %+v", f)
			}
			if c.argv == "probe privy" && (len(r.Outputs) != 1 || r.Outputs[0].Kind != wire.Exec) {
				t.Errorf("left %+v", r.Outputs)
			}
			b.unharmed(s)
		})
	}
	if now := (&store{dir: b.root}).sum(t); now != root {
		t.Errorf("the root was\n%s\nand is\n%s", root, now)
	}
}

// unharmed fails the test unless the slot is as new and the store as it was.
func (b *bench) unharmed(s *store) {
	b.t.Helper()
	if r := b.run(Spec{Argv: []string{"probe", "fresh"}}); r.Failure != nil {
		b.t.Errorf("next: %s\n%s", r.Failure.Message, r.Stderr)
	}
	if t, ok := b.t.(*testing.T); ok {
		if now := s.sum(t); now != s.before {
			b.t.Errorf("the store was\n%s\nand is\n%s", s.before, now)
		}
	}
}

// TestProtectedEngine: what an engine is protected from, its commands are not.
func TestProtectedEngine(t *testing.T) {
	const score = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(score)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(score, []byte("-500"), 0); err != nil {
		t.Skip("a negative oom_score_adj needs privilege: ", err)
	}
	defer os.WriteFile(score, before, 0)
	b := newBench(t, 1)
	for range 2 {
		if got := b.sh("cat /proc/self/oom_score_adj; echo 0 >/proc/self/oom_score_adj; "+
			"echo -1 2>/dev/null >/proc/self/oom_score_adj || cat /proc/self/oom_score_adj", Spec{}); got != "1000\n0" {
			t.Errorf("oom_score_adj: %q", got)
		}
	}
}

// TestLeakedDescriptors: what an engine has open without close-on-exec stays its own.
func TestLeakedDescriptors(t *testing.T) {
	secret := writeFile(t, filepath.Join(t.TempDir(), "secret"), "x", 0o600)
	for range 10 {
		fd, err := unix.Open(secret, unix.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	b := newBench(t, 1)
	for range 2 {
		if r := b.run(Spec{Argv: []string{"probe", "confined"}}); r.Failure != nil {
			t.Errorf("%s\n%s", r.Failure.Message, r.Stderr)
		}
	}
}

// TestRacingOutputs: whatever a child puts at the place of an output while its parent ends, only
// what the command wrote itself is taken, or the output is refused.
func TestRacingOutputs(t *testing.T) {
	b := newBench(t, 1)
	for range 15 {
		r := b.run(Spec{Argv: []string{"probe", "swap"}, Outputs: []wire.Output{{Path: "out", Kind: wire.Dir}}})
		if f := r.Failure; f != nil && f.Cause != wire.CauseOutputInvalid && f.Cause != wire.CauseOutputMissing {
			t.Errorf("%+v", f)
		}
	}
	for _, text := range b.sink.files {
		if len(text) > 0 && string(text) != "mine" {
			t.Errorf("took %.40q", text)
		}
	}
	if r := b.run(Spec{Argv: []string{"probe", "confined"}}); r.Failure != nil {
		t.Errorf("%s\n%s", r.Failure.Message, r.Stderr)
	}
}

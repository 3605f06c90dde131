package placeholder_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gaggle/coord/placeholder"
)

// marked are the processes that a test starts.
func marked(t *testing.T) placeholder.Processes {
	return placeholder.Processes{Variable: "GAGGLE_PLACEHOLDER_TEST=" + t.Name()}
}

// shell starts a script, whose standard output is read by the function that is returned.
func shell(t *testing.T, dir, script string) (wait func() string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), marked(t).Variable)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, errs.String())
		}
		return out.String()
	}
}

func standIn(t *testing.T, path string, mode os.FileMode) *placeholder.File {
	t.Helper()
	p, err := placeholder.Make(path, mode, nil)
	if errors.Is(err, placeholder.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wanted waits until somebody waits for the placeholder.
func wanted(t *testing.T, p *placeholder.File) {
	t.Helper()
	for begun := time.Now(); !p.Wanted(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 30*time.Second {
			t.Fatal("nobody wants it")
		}
	}
}

func freezing(t *testing.T) func() func() {
	return func() func() {
		resume, err := marked(t).Freeze()
		if err != nil {
			t.Error(err)
		}
		return resume
	}
}

// TestNobodySeesAPlaceholder opens, runs, renames and links one while it is still to be made.
func TestNobodySeesAPlaceholder(t *testing.T) {
	const program = "#!/bin/sh\necho made"
	for name, test := range map[string]struct {
		script, prints string
		run            bool
	}{
		"read":             {"cat file", program, false},
		"renamed":          {"mv file other; cat other", program, false},
		"linked":           {"ln file other; cat other; cmp file other", program, false},
		"linked with -s":   {"ln -s file other; cat other", program, false},
		"copied":           {"cp -p file other; cat other; test ! other -nt file", program, false},
		"appended to":      {"echo more >>file; tail -n 1 file", "echo mademore\n", false},
		"run":              {"./file", "made\n", true},
		"run by the shell": {"sh file", "made\n", true},
		"renamed and run":  {"mv file other; ./other", "made\n", true},
		"linked and run":   {"ln file other; ./other", "made\n", true},
		"copied and run":   {"cp file other && ./other", "made\n", true}, // not if it is another file when cp opens it
		"installed":        {"install file other && ./other", "made\n", true},
		"twice":            {"cat file & ./file; wait", program + "made\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			p := standIn(t, path, 0o755)
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			wait := shell(t, dir, test.script)
			wanted(t, p)
			if err := p.Fill(strings.NewReader(program), test.run, freezing(t)); err != nil {
				t.Fatal(err)
			}
			got := wait()
			if name == "twice" && got == "made\n"+program {
				got = test.prints
			}
			if got != test.prints {
				t.Errorf("prints %q, not %q", got, test.prints)
			}
			after, err := os.Stat(path)
			if err == nil && name != "appended to" && !after.ModTime().Equal(before.ModTime()) {
				t.Errorf("its time is %v, was %v", after.ModTime(), before.ModTime())
			}
			leftovers(t, dir)
		})
	}
}

func leftovers(t *testing.T, dir string) {
	t.Helper()
	if names, _ := filepath.Glob(filepath.Join(dir, ".gaggle-*")); len(names) > 0 {
		t.Errorf("left over: %q", names)
	}
}

// TestFillWhatNobodyWaitsFor fills files whose names came and went.
func TestFillWhatNobodyWaitsFor(t *testing.T) {
	for name, test := range map[string]struct{ before, after, prints string }{
		"as it was": {"true", "cat file", "made"},
		"renamed":   {"mv file other", "cat other", "made"},
		"linked":    {"ln file other", "cat other", "made"},
		"removed":   {"rm file", "ls", ""},
		"replaced":  {"rm file; echo mine >file", "cat file", "mine\n"},
		"mode":      {"chmod 640 file", "stat -c %a file", "640\n"},
		"touched":   {"touch -d @1000 file", "stat -c %Y file", "1000\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := standIn(t, filepath.Join(dir, "file"), 0o644)
			shell(t, dir, test.before)()
			if err := p.Fill(strings.NewReader("made"), false, nil); err != nil {
				t.Fatal(err)
			}
			if got := shell(t, dir, test.after)(); got != test.prints {
				t.Errorf("prints %q, not %q", got, test.prints)
			}
			if err := p.Fill(strings.NewReader("again"), false, nil); !errors.Is(err, os.ErrClosed) {
				t.Errorf("filled twice: %v", err)
			}
			leftovers(t, dir)
		})
	}
}

// TestFillOfAnySize fills files about as long as the parts in which they are written.
func TestFillOfAnySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, n := range []int{0, 1, 255, 256, 257, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300_000} {
		want := strings.Repeat("0123456789abcde", n/15+1)[:n]
		p := standIn(t, path, 0o644)
		if err := p.Fill(strings.NewReader(want), false, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("of %d bytes it holds %d, %v", n, len(got), err)
		}
	}
}

// TestFillWhileSomebodyComes opens files at any moment of their being filled.
func TestFillWhileSomebodyComes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for i := range 300 {
		p := standIn(t, path, 0o644)
		got := beside(func() string {
			time.Sleep(time.Duration(i) * 2 * time.Microsecond)
			f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
			if err != nil {
				return err.Error()
			}
			defer f.Close()
			_, _ = f.WriteString(" and more")
			b, _ := os.ReadFile(path)
			return string(b)
		})
		if err := p.Fill(strings.NewReader("made"), false, nil); err != nil {
			t.Fatal(err)
		}
		if s := <-got; s != "made and more" {
			t.Fatalf("it holds %q", s)
		}
	}
	leftovers(t, dir)
}

// beside runs a function beside.
func beside(f func() string) <-chan string {
	c := make(chan string, 1)
	go func() { c <- f() }()
	return c
}

// TestFreezeHoldsBackWhoWaits stops a reader for longer than the kernel would have it wait, as far as
// that can be seen without waiting: it does not go on before it is let.
func TestFreezeHoldsBackWhoWaits(t *testing.T) {
	dir := t.TempDir()
	p := standIn(t, filepath.Join(dir, "file"), 0o644)
	wait := shell(t, dir, "cat file; sleep 0; cat file")
	wanted(t, p)
	resume, err := marked(t).Freeze()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Fill(strings.NewReader("made "), false, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("later "), 0o644); err != nil {
		t.Fatal(err)
	}
	resume()
	if got := wait(); got != "later later " {
		t.Errorf("a stopped reader printed %q", got)
	}
}

// TestEndWhileSomebodyWaits ends make: what it was making from a placeholder is not there afterwards.
func TestEndWhileSomebodyWaits(t *testing.T) {
	dir := t.TempDir()
	makefile := "all: copy\ncopy: file\n\techo begun >copy\n\tcat file >>copy\n"
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(makefile), 0o644); err != nil {
		t.Fatal(err)
	}
	p := standIn(t, filepath.Join(dir, "file"), 0o644)
	cmd := exec.Command("make", "-s")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), marked(t).Variable), io.Discard, io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wanted(t, p)
	end := func() {
		if err := marked(t).End(true); err != nil {
			t.Error(err)
		}
	}
	if err := p.Remove(end); err != nil {
		t.Fatal(err)
	}
	if cmd.Wait() == nil {
		t.Error("make ended well")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left over: %v", entries)
	}
}

// TestRemovedWhileAStrangerWaits: who is not ended reads nothing.
func TestRemovedWhileAStrangerWaits(t *testing.T) {
	dir := t.TempDir()
	p := standIn(t, filepath.Join(dir, "file"), 0o644)
	wait := shell(t, dir, "cat file")
	wanted(t, p)
	if err := p.Remove(func() {}); err != nil {
		t.Fatal(err)
	}
	if got := wait(); got != "" {
		t.Errorf("a reader printed %q", got)
	}
}

// TestLeftOver finds a placeholder that nobody holds, and runs it.
func TestLeftOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	placeholder.Abandon(standIn(t, path, 0o755))
	info, err := os.Stat(path)
	if err != nil || !placeholder.Is(path, info) {
		t.Errorf("%s is not taken for a placeholder: %v", path, err)
	}
	out, err := exec.Command(path).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 125 || !strings.Contains(string(out), "run coord make again") {
		t.Errorf("running it: %v, %q", err, out)
	}
}

// TestKeptByAnother shares placeholders with another process, as it were, and lets them go as if killed.
func TestKeptByAnother(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := sockets(t)
	kept := make(chan *placeholder.Kept)
	go func() { kept <- placeholder.Keep(theirs) }()
	share := placeholder.NewShare(ours)
	var files [3]*placeholder.File
	for i := range files {
		var err error
		files[i], err = placeholder.Make(filepath.Join(dir, string(rune('a'+i))), 0o755, share)
		if errors.Is(err, placeholder.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	wait := shell(t, dir, "ln a other; ./other")
	wanted(t, files[0])
	if err := files[0].Fill(strings.NewReader("#!/bin/sh\necho made"), true, freezing(t)); err != nil {
		t.Fatal(err)
	}
	if got := wait(); got != "made\n" {
		t.Errorf("prints %q", got)
	}
	placeholder.Abandon(files[1])
	if err := files[2].Remove(func() {}); err != nil {
		t.Fatal(err)
	}
	cat := exec.Command("cat", filepath.Join(dir, "b"))
	var out strings.Builder
	cat.Stdout = &out
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cat.Process.Kill(); _ = cat.Wait() }()
	ours.Close()
	k := <-kept
	time.Sleep(50 * time.Millisecond) // it would have read it
	_ = cat.Process.Kill()
	_ = cat.Wait()
	if out.Len() > 0 {
		t.Errorf("cat read %q", out.String())
	}
	if err := k.Remove(); err != nil {
		t.Fatal(err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 2 {
		t.Errorf("there are %v, not a and other", names)
	}
}

// sockets returns the two ends of a connection.
func sockets(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr)); err == nil {
		b, err = l.AcceptUnix()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

//go:build amd64 || arm64

package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main()
	if v := os.Getenv(insideVar); v != "" {
		os.Exit(inside(v))
	}
	os.Exit(m.Run())
}

func free(Program) bool { return true }

func held(Program) bool { return false }

// start starts a command of a shell behind a gate.
func start(t *testing.T, dir, script string, pass func(context.Context, Program)) (*exec.Cmd, *Gate) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	g, err := Start(cmd, held, pass)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, g
}

// finish waits for a command, and for those who go on after it.
func finish(t *testing.T, cmd *exec.Cmd, g *Gate) {
	t.Helper()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// A script of a recipe may be longer than any path.
func TestLongWords(t *testing.T) {
	script := ": " + strings.Repeat("x", 100_000) + "; exit 0"
	var mu sync.Mutex
	var seen []Program
	cmd, g := start(t, t.TempDir(), script, func(_ context.Context, p Program) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, p)
	})
	finish(t, cmd, g)
	if len(seen) != 1 || len(seen[0].Words) != 3 || seen[0].Words[2] != script {
		t.Errorf("a script of %d bytes is not told whole", len(script))
	}
}

func TestPrograms(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	cmd, g := start(t, t.TempDir(), "mkdir sub; cd sub && env A=1 touch x 'y z'; sh -c 'exec ./none' 2>&-; true", func(_ context.Context, p Program) {
		mu.Lock()
		defer mu.Unlock()
		if p.PID <= 0 {
			t.Errorf("%+v", p)
		}
		seen = append(seen, filepath.Base(p.Path)+": "+strings.Join(p.Words, "|"))
	})
	finish(t, cmd, g)
	want := []string{"sh: sh|-c|mkdir sub; cd sub && env A=1 touch x 'y z'; sh -c 'exec ./none' 2>&-; true", "mkdir: mkdir|sub", "env: env|A=1|touch|x|y z", "touch: touch|x|y z"}
	for _, w := range want {
		if !slices.Contains(seen, w) {
			t.Errorf("%q is not among %q", w, seen)
		}
	}
	if _, err := os.Stat(filepath.Join(cmd.Dir, "sub", "y z")); err != nil {
		t.Error(err)
	}
}

// A program starts only when it is let, whatever signals come.
func TestHeld(t *testing.T) {
	dir := t.TempDir()
	pass := func(_ context.Context, p Program) {
		if filepath.Base(p.Path) != "cat" {
			return
		}
		for range 5 {
			_ = syscall.Kill(p.PID, syscall.SIGWINCH)
			time.Sleep(10 * time.Millisecond) // so that a gate that lets it through is noticed
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("there"), 0o600); err != nil {
			t.Error(err)
		}
	}
	cmd, g := start(t, dir, "trap : WINCH; exec cat file > out", pass)
	finish(t, cmd, g)
	if b, err := os.ReadFile(filepath.Join(dir, "out")); string(b) != "there" {
		t.Errorf("%q, %v", b, err)
	}
}

// Who waits can be ended.
func TestKilledWhileHeld(t *testing.T) {
	cmd, g := start(t, t.TempDir(), "cat /dev/null; echo $? > status; exit 0", func(_ context.Context, p Program) {
		if filepath.Base(p.Path) == "cat" {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	})
	finish(t, cmd, g)
	if b, err := os.ReadFile(filepath.Join(cmd.Dir, "status")); string(b) != "137\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// What a command leaves behind starts programs when the gate is closed.
func TestLeft(t *testing.T) {
	dir := t.TempDir()
	cmd, g := start(t, dir, "(until test -e go; do sleep 0.01; done; touch new; mv new done) >log 2>&1 &", func(context.Context, Program) {})
	finish(t, cmd, g)
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, filepath.Join(dir, "done"))
}

// await waits until a file is there.
func await(t *testing.T, name string) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(name); err == nil {
			return
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("%s does not come", name)
		}
	}
}

// Close lets those go on who wait.
func TestClosedWhileHeld(t *testing.T) {
	dir := t.TempDir()
	held := make(chan struct{})
	cmd, g := start(t, dir, "(touch done) & exit 0", func(ctx context.Context, p Program) {
		if filepath.Base(p.Path) == "touch" {
			close(held)
			<-ctx.Done()
		}
	})
	<-held
	finish(t, cmd, g)
	await(t, filepath.Join(dir, "done"))
}

// The command has the descriptors that this process was started with, as make's jobs are shared out by
// them, and none of ours; and behind a gate there is no other.
func TestInside(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.ExtraFiles = []*os.File{w}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	if len(lines) != 4 || lines[0] != lines[1] || !strings.Contains(lines[0], " 3 ") || lines[2] != "unsupported" {
		t.Errorf("%q, want the same descriptors twice, and no gate within a gate", out)
	}
}

// insideVar has the test binary be a process that starts a command behind a gate.
const insideVar = "GAGGLE_TEST_GATE"

// inside prints which descriptors a command has, without a gate and behind one, where it tries to start
// another.
func inside(value string) int {
	script := "cd /proc/$$/fd && echo *"
	if value == "1" {
		plain := exec.Command("sh", "-c", script)
		plain.Stdout = os.Stdout
		if err := plain.Run(); err != nil {
			fmt.Println(err)
			return 1
		}
		script += "; " + insideVar + "=2 exec " + os.Args[0] + " -test.run='^$'"
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout = os.Stdout
	g, err := Start(cmd, free, nil)
	switch {
	case errors.Is(err, ErrUnsupported) && value == "2":
		fmt.Println("unsupported")
		return 0
	case err != nil:
		fmt.Println(err)
		return 1
	}
	err = cmd.Wait()
	if err := errors.Join(err, g.Close()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// BenchmarkPrograms starts a program, without a gate and behind one.
func BenchmarkPrograms(b *testing.B) {
	script := func(b *testing.B) *exec.Cmd {
		return exec.Command("sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/true; i=$((i+1)); done", b.N))
	}
	b.Run("plain", func(b *testing.B) {
		if err := script(b).Run(); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("gated", func(b *testing.B) {
		cmd := script(b)
		g, err := Start(cmd, free, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(cmd.Wait(), g.Close()); err != nil {
			b.Fatal(err)
		}
	})
}

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gaggle/overlay/peer"
	"gaggle/sandbox"
	"gaggle/wire"
)

// binDir holds the built coord.
var binDir string

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "coord-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "coord"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building coord: %v\n%s", err, out)
		return 1
	}
	shim := exec.Command("cc", "-O2", "-o", filepath.Join(dir, shimName), "shim/shim.c")
	if out, err := shim.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the shim: %v\n%s", err, out)
		return 1
	}
	words := exec.Command("go", "build", "-o", filepath.Join(dir, "words"), "gaggle/examples/words")
	if out, err := words.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the example of the SDK: %v\n%s", err, out)
		return 1
	}
	binDir = dir
	return m.Run()
}

// canSandbox returns why thunks cannot be run here, "" if they can.
func canSandbox(t *testing.T) string {
	e, err := sandbox.New(sandbox.Config{Dir: t.TempDir(), Slots: 1})
	if err != nil {
		return err.Error()
	}
	if err := e.Close(); err != nil {
		return err.Error()
	}
	return ""
}

func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the built coord with real tasks")
	}
	if why := canSandbox(t); why != "" {
		t.Skip(why)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			// A short path, as a user's state directory has: unix sockets take 103 bytes.
			state, err := os.MkdirTemp("", "gst")
			if err != nil {
				return err
			}
			env.Setenv("PATH", binDir+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("BIN", binDir)
			examples, err := filepath.Abs("../examples")
			if err != nil {
				return err
			}
			env.Setenv("EXAMPLES", examples)
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("GAGGLE_STATE", state)
			env.Defer(func() {
				stop := exec.Command(filepath.Join(binDir, "coord"), "agent", "--stop", "--state", state)
				if out, err := stop.CombinedOutput(); err != nil {
					t.Errorf("stopping the background process: %v\n%s", err, out)
				}
				if s, ok := env.T().(interface{ Failed() bool }); !ok || s.Failed() {
					log, _ := os.ReadFile(filepath.Join(state, "agent.log")) // there may be none
					env.T().Log(fmt.Sprintf("its background process logged at last:\n%s", log[max(0, len(log)-8<<10):]))
				}
				if err := removeAll(state); err != nil {
					t.Error(err)
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      exits,
			"eventually": eventually,
			"killagent":  killAgent,
			"noagent":    noAgent,
			"interrupt":  interrupt,
			"shift":      shift,
			"age":        age,
			"wake":       wake,
		},
	})
}

// removeAll removes a state directory, whose store has read-only directories.
func removeAll(dir string) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}

// exits CODE COMMAND... runs a command, which must exit with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s exited with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// patience is how long eventually waits; only a broken coord takes so long.
const patience = 90 * time.Second

// eventually REGEXP COMMAND... runs a command until its output matches.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually REGEXP COMMAND...")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	late := time.After(patience)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		c := exec.Command(program(args[1]), args[2:]...)
		c.Dir, c.Env = ts.MkAbs("."), append(os.Environ(), "GAGGLE_STATE="+ts.Getenv("GAGGLE_STATE"))
		out, err := c.CombinedOutput() // that it fails is no matter: what it asks about may not be there yet
		if want.Match(out) {
			return
		}
		select {
		case <-again.C:
		case <-late:
			ts.Fatalf("%s never printed %s, but (%v)\n%s", strings.Join(args[1:], " "), want, err, out)
		}
	}
}

// program is where a command of a script is: ours, or one of the machine.
func program(name string) string {
	if own := filepath.Join(binDir, name); name == "coord" || name == "node" {
		return own
	}
	return name
}

// agentPID returns the pid of the background process.
func agentPID(ts *testscript.TestScript) int {
	b, err := os.ReadFile(filepath.Join(ts.Getenv("GAGGLE_STATE"), "agent.lock"))
	ts.Check(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	ts.Check(err)
	return pid
}

// killagent ends the background process as kill -9 does, and waits until it is gone.
func killAgent(ts *testscript.TestScript, _ bool, _ []string) {
	pid := agentPID(ts)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	waitGone(ts, pid)
}

// noagent waits until the background process has ended.
func noAgent(ts *testscript.TestScript, _ bool, _ []string) { waitGone(ts, agentPID(ts)) }

// wake waits until a task of the background process sleeps, and ends the sleep: what follows it in the
// task goes on. So a task lasts as long as a script needs it, on machines of any speed.
func wake(ts *testscript.TestScript, _ bool, _ []string) {
	agent, late := agentPID(ts), time.After(patience)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if pid := sleeper(agent); pid != 0 {
			ts.Check(syscall.Kill(pid, syscall.SIGKILL))
			return
		}
		select {
		case <-again.C:
		case <-late:
			ts.Fatalf("no task sleeps")
		}
	}
}

// sleeper returns a process of the program sleep that a process has started, or one that it started
// has; 0 if there is none.
func sleeper(below int) int {
	parents, sleeps := map[int]int{}, []int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		head, rest, _ := strings.Cut(string(stat), " (")
		pid, _ := strconv.Atoi(head)
		at := strings.LastIndex(rest, ") ")
		var state string
		var parent int
		if _, err := fmt.Sscan(rest[at+1:], &state, &parent); err == nil && state != "Z" {
			parents[pid] = parent
			if rest[:at] == "sleep" {
				sleeps = append(sleeps, pid)
			}
		}
	}
	for _, pid := range sleeps {
		for p := pid; p != 0; p = parents[p] {
			if p == below {
				return pid
			}
		}
	}
	return 0
}

func waitGone(ts *testscript.TestScript, pid int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for again := time.NewTicker(10 * time.Millisecond); ; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			again.Stop()
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			ts.Fatalf("process %d does not end", pid)
		}
	}
}

// interrupt NAME sends SIGINT to a background command, as Ctrl-C does.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: interrupt PIDFILE")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGINT))
}

// shift DIR DURATION FILE writes a ticket like that of the coordinator whose state is in DIR, but
// issued by a clock that is off by the duration.
func shift(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: shift DIR DURATION FILE")
	}
	off, err := time.ParseDuration(args[1])
	ts.Check(err)
	t, err := wire.ParseTicket(ts.ReadFile(filepath.Join(args[0], "ticket")))
	ts.Check(err)
	mesh, err := peer.LoadKey(ts.MkAbs(filepath.Join(args[0], "mesh.key")))
	ts.Check(err)
	t.Issued += int64(off.Seconds())
	t.Expires += int64(off.Seconds())
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(wire.SignTicket(mesh, *t).Text()+"\n"), 0o600))
}

// age DIR DURATION has this machine's certificate of the mesh whose coordinator's state is in DIR run
// out so long ago. The background process must not run.
func age(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: age DIR DURATION")
	}
	ago, err := time.ParseDuration(args[1])
	ts.Check(err)
	mesh, err := peer.LoadKey(ts.MkAbs(filepath.Join(args[0], "mesh.key")))
	ts.Check(err)
	files, err := filepath.Glob(filepath.Join(ts.Getenv("GAGGLE_STATE"), "meshes", "*.json"))
	if err != nil || len(files) != 1 {
		ts.Fatalf("this machine is in %d meshes, %v; want one", len(files), err)
	}
	b, err := os.ReadFile(files[0])
	ts.Check(err)
	var conf map[string]any
	ts.Check(json.Unmarshal(b, &conf))
	old, err := base64.StdEncoding.DecodeString(conf["certificate"].(string))
	ts.Check(err)
	cert, err := wire.DecodeCertificate(old)
	ts.Check(err)
	end := time.Now().Add(-ago)
	cert.NotBefore, cert.Expires = end.Add(-wire.CertLife).Unix(), end.Unix()
	conf["certificate"] = wire.SignCertificate(mesh, *cert).Encode()
	b, err = json.Marshal(conf)
	ts.Check(err)
	ts.Check(os.WriteFile(files[0], b, 0o600))
}

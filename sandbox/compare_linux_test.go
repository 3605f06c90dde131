package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A contender starts a program of a root with so many inputs, and waits for its end.
type contender struct {
	name string
	run  func(program string, inputs int, seq int64) error
}

// BenchmarkCompare prints what a start costs here, by os/exec alone (the floor), and by other
// sandboxes that are installed. All take turns, in an order that is drawn anew, so that whatever else
// the machine does hits all alike, and what one leaves to the kernel (crun and runc, as root: cgroups
// and namespaces, torn down milliseconds later) does not hit always the same. Each measurement is a
// median.
func BenchmarkCompare(b *testing.B) {
	x := newBench(b, 8)
	programs := noops(b, x.root)
	dir := b.TempDir()
	source := writeFile(b, filepath.Join(dir, "input"), strings.Repeat("x", 4<<10), 0o644)
	bundle := newBundle(b, x.root, source)
	all := []contender{{"os/exec", func(program string, _ int, _ int64) error {
		_, err := exec.Command(filepath.Join(x.root, program)).Output()
		return err
	}}, {"gaggle", func(program string, inputs int, _ int64) error {
		s := Spec{Root: x.root, Argv: []string{program}, Sink: x.sink}
		for i := range inputs {
			s.Inputs = append(s.Inputs, Input{Path: inputName(i), Source: source})
		}
		r, err := x.e.Run(context.Background(), s)
		if err == nil && r.Failure != nil {
			err = fmt.Errorf("%s", r.Failure.Message)
		}
		return err
	}}}
	for _, c := range []contender{{"bwrap", func(program string, inputs int, _ int64) error {
		return command("bwrap", bwrapArgs(x.root, source, program, inputs)...)
	}}, {"crun", bundle.runner("crun")}, {"runc", bundle.runner("runc")}} {
		if err := c.run(programs[0], 0, 0); err != nil {
			fmt.Printf("%s is left out: %v\n", c.name, err)
			continue
		}
		all = append(all, c)
	}
	for b.Loop() {
		fmt.Printf("as uid %d; median of one start after the other; over os/exec, of bwrap\n", os.Geteuid())
		for _, p := range programs {
			for _, inputs := range []int{0, 10, 100, 1000} {
				serial(b, all, p, inputs)
			}
		}
		fmt.Println("starts per second, 8 at once; median of three")
		for _, p := range programs {
			parallel(b, all, p)
		}
	}
}

// serial prints one line: every contender's median.
func serial(b *testing.B, all []contender, program string, inputs int) {
	rounds := map[int]int{0: 60, 10: 40, 100: 20, 1000: 5}[inputs]
	took := make([][]time.Duration, len(all))
	for r := range rounds {
		for _, i := range rand.Perm(len(all)) {
			c := all[i]
			if c.name == "os/exec" && inputs > 0 {
				continue
			}
			begun := time.Now()
			err := c.run(program, inputs, int64(r))
			if err != nil && c.name != "gaggle" { // runc finds its copy of itself busy, now and then
				begun = time.Now()
				err = c.run(program, inputs, int64(r))
			}
			if err != nil {
				b.Fatalf("%s: %v", c.name, err)
			}
			took[i] = append(took[i], time.Since(begun))
		}
	}
	fmt.Printf("%-9s %4d inputs", filepath.Base(program), inputs)
	show(all, took, func(d time.Duration) string { return d.Round(time.Microsecond).String() })
}

// parallel prints one line: what every contender starts in a second.
func parallel(b *testing.B, all []contender, program string) {
	rates := make([][]float64, len(all))
	for range 3 {
		for i, c := range all {
			rates[i] = append(rates[i], rate(b, c, program))
		}
	}
	fmt.Printf("%-9s            ", filepath.Base(program))
	show(all, rates, func(n float64) string { return fmt.Sprintf("%.0f", n) })
}

// rate has eight goroutines start programs for half a second.
func rate(b *testing.B, c contender, program string) float64 {
	var n atomic.Int64
	var wg sync.WaitGroup
	begun := time.Now()
	for range 8 {
		wg.Go(func() {
			for time.Since(begun) < time.Second/2 {
				if err := c.run(program, 0, n.Add(1)); err != nil {
					b.Errorf("%s: %v", c.name, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(begun).Seconds()
}

// show ends a line with medians, and how gaggle's compares.
func show[T time.Duration | float64](all []contender, measured [][]T, text func(T) string) {
	median := map[string]T{}
	for i, c := range all {
		if len(measured[i]) == 0 {
			continue
		}
		slices.Sort(measured[i])
		median[c.name] = measured[i][len(measured[i])/2]
		fmt.Printf("  %s %s", c.name, text(median[c.name]))
	}
	for _, other := range []string{"os/exec", "bwrap"} {
		if m, ok := median[other]; ok {
			fmt.Printf("  %.2fx %s", float64(median["gaggle"])/float64(m), other)
		}
	}
	fmt.Println()
}

// noops are a dynamic and a static program that do nothing.
func noops(b *testing.B, root string) (paths []string) {
	for name, flags := range map[string][]string{"dynamic": nil, "static": {"-static"}} {
		build := exec.Command("gcc", append(flags, "-O2", "-x", "c", "-o", filepath.Join(root, "bin", name), "-")...)
		build.Stdin = strings.NewReader("int main(void) { return 0; }\n")
		if out, err := build.CombinedOutput(); err != nil {
			b.Skipf("no C compiler: %v: %s", err, out)
		}
		paths = append(paths, "/bin/"+name)
	}
	slices.Sort(paths)
	return paths
}

func inputName(i int) string { return fmt.Sprintf("in/%04d", i) }

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.300s", err, out)
	}
	return nil
}

// bwrapArgs ask for what a slot gives.
func bwrapArgs(root, source, program string, inputs int) []string {
	args := strings.Fields("--unshare-all --die-with-parent --clearenv --ro-bind " + root +
		" / --proc /proc --dev /dev --tmpfs /tmp --tmpfs /job --chdir /job")
	for i := range inputs {
		args = append(args, "--ro-bind", source, "/job/"+inputName(i))
	}
	return append(args, program)
}

// A bundle makes OCI bundles for crun and runc.
type bundle struct {
	b            *testing.B
	root, source string
	dir          string

	mu   sync.Mutex // guards the field below
	made map[string]string
}

func newBundle(b *testing.B, root, source string) *bundle {
	return &bundle{b: b, root: root, source: source, dir: b.TempDir(), made: map[string]string{}}
}

// apart returns a function that has another do something in a mount namespace where there are only
// cgroups of version 2: crun refuses hybrid machines, though it is told to make no cgroup.
func apart(b *testing.B, threads int) func(func() error) error {
	jobs := make(chan func())
	b.Cleanup(func() { close(jobs) })
	ready := make(chan error, threads)
	for range threads {
		go func() {
			runtime.LockOSThread() // for good: nobody else is to have this thread
			err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
			if err == nil {
				err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
			}
			if err == nil {
				err = unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "")
			}
			if ready <- err; err != nil {
				return
			}
			for job := range jobs {
				job()
			}
		}()
	}
	for range threads {
		if err := <-ready; err != nil {
			return func(do func() error) error { return do() }
		}
	}
	return func(do func() error) error {
		done := make(chan error)
		jobs <- func() { done <- do() }
		return <-done
	}
}

func (o *bundle) runner(name string) func(string, int, int64) error {
	run := func(do func() error) error { return do() }
	if name == "crun" {
		run = apart(o.b, 8)
	}
	return func(program string, inputs int, seq int64) error {
		dir, err := o.config(program, inputs)
		if err != nil {
			return err
		}
		args := []string{"--root", filepath.Join(o.dir, name), "run", "--bundle", dir,
			fmt.Sprintf("gaggle-%d-%d", os.Getpid(), seq)}
		if name == "crun" {
			args = append([]string{"--cgroup-manager=disabled"}, args...)
		}
		return run(func() error { return command(name, args...) })
	}
}

// config writes a bundle once.
func (o *bundle) config(program string, inputs int) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := fmt.Sprint(filepath.Base(program), inputs)
	if dir := o.made[key]; dir != "" {
		return dir, nil
	}
	type object = map[string]any
	mounts := []object{{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"mode=755"}},
		{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
		{"destination": "/job", "type": "tmpfs", "source": "tmpfs"}}
	for i := range inputs {
		mounts = append(mounts, object{"destination": "/job/" + inputName(i), "type": "bind", "source": o.source,
			"options": []string{"bind", "ro"}})
	}
	linux := object{"namespaces": []object{{"type": "pid"}, {"type": "mount"}, {"type": "network"}, {"type": "ipc"},
		{"type": "uts"}}}
	if uid := os.Geteuid(); uid != 0 {
		one := []object{{"containerID": 0, "hostID": uid, "size": 1}}
		linux["uidMappings"], linux["gidMappings"] = one, one
		linux["namespaces"] = append(linux["namespaces"].([]object), object{"type": "user"})
	}
	config, err := json.Marshal(object{"ociVersion": "1.0.0", "root": object{"path": o.root, "readonly": true},
		"process": object{"args": []string{program}, "cwd": "/job", "user": object{"uid": 0, "gid": 0},
			"noNewPrivileges": true},
		"hostname": "thunk", "mounts": mounts, "linux": linux})
	if err != nil {
		return "", err
	}
	dir := filepath.Join(o.dir, key)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	o.made[key] = dir
	return dir, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644)
}

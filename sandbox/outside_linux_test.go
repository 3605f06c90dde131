package sandbox

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gaggle/sandbox/capture"
	"gaggle/wire"
)

// TestSameAsOutside runs scripts in a sandbox and without one: they say the same and end the same.
func TestSameAsOutside(t *testing.T) {
	b := newBench(t, 1)
	// Signals that whoever started the test ignores, as nohup does, would be ignored outside.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(hup)
	for name, script := range map[string]string{
		"exit codes":     "for i in 0 1 2 126 127 128 255 256 257; do sh -c \"exit $i\"; echo $?; done",
		"last exit code": "exit 77",
		"signals": "for s in HUP INT QUIT ILL ABRT FPE KILL SEGV PIPE ALRM TERM USR1; do " +
			"sh -c \"kill -$s \\$\\$; echo lived\"; echo $s $?; done 2>/dev/null",
		"own signal":        "echo before; kill -USR2 $$; echo after",
		"handled signal":    "trap 'echo got TERM' TERM; kill -TERM $$; echo after",
		"ignored signal":    "trap '' PIPE; (yes 2>/dev/null; echo $? >status) | head -1; cat status",
		"SIGPIPE":           "(yes; echo $? >status) | head -1; cat status",
		"killed pipeline":   "bash -c 'yes | head -1; echo ${PIPESTATUS[*]}'",
		"wait for a child":  "sh -c 'exit 7' & wait $!; echo $?",
		"substitution":      "bash -c 'cat <(echo x) <(echo y); echo z > >(cat); wait $!'",
		"descriptors":       "echo text >f; exec 9<f; cat /dev/fd/9; echo a | cat /dev/stdin; echo b 5>&1 >/dev/fd/5",
		"here document":     "cat <<X\n$((6 * 7))\nX",
		"own program":       "readlink /proc/self/exe | tr / '\\n' | tail -n 1; cat /proc/self/comm",
		"umask":             "umask; touch a; umask 077; touch b; mkdir c; stat -c %a a b c",
		"large file":        "dd if=/dev/zero of=big bs=1 count=1 seek=9G 2>/dev/null; stat -c %s big; tail -c 1 big | wc -c",
		"links":             "touch f; ln f g; ln -s f h; stat -c %h f; readlink h; rm f; cat h 2>/dev/null || echo dangling",
		"named pipe":        "mkfifo p; echo through >p & cat p",
		"bytes":             "printf 'b\\303\\251\\nB\\na\\n' | sort | tr a-z A-Z | wc -c",
		"priority":          "nice; nice -n 5 nice",
		"working directory": "mkdir -p d/e; cd d/e; cd ..; basename \"$(pwd)\"; cd nowhere 2>/dev/null || echo $?",
		"not found":         "nothing-of-this-name 2>/dev/null; echo $?",
		"not a program":     "touch f; chmod +x f; ./f; echo $?; mkdir d; ./d 2>/dev/null; echo $?",
	} {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.t = t
			outside := exec.Command("sh", "-c", script)
			outside.Dir = t.TempDir()
			outside.Env = environment(nil, jobDir)
			want, err := outside.Output()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			r := b.run(Spec{Argv: []string{"sh", "-c", script}})
			code, signal := 0, 0
			if f := r.Failure; f != nil {
				code, signal = f.Exit, f.Signal
			}
			ws := outside.ProcessState
			if string(r.Stdout) != string(want) || !strings.HasPrefix(ws.String(), stateOf(code, signal)) {
				t.Errorf("inside %q, exit %d, signal %d; outside %q, %s", r.Stdout, code, signal, want, ws)
			}
		})
	}
}

// stateOf is how os/exec begins to tell an end.
func stateOf(code, signal int) string {
	if signal != 0 {
		return "signal: " + syscall.Signal(signal).String()
	}
	return "exit status " + strconv.Itoa(code)
}

// TestOrphansAreReaped: children whose parents have gone do not stay as zombies while the command
// goes on.
func TestOrphansAreReaped(t *testing.T) {
	b := newBench(t, 1)
	const script = `for i in 1 2 3 4 5 6 7 8; do (sh -c 'echo >/tmp/'$i &) ; done
		for i in 1 2 3 4 5 6 7 8; do while [ ! -e /tmp/$i ]; do :; done; done
		while [ $(cat /proc/[0-9]*/stat 2>/dev/null | wc -l) -gt 3 ]; do :; done; echo alone`
	if got := b.sh(script, Spec{Limits: Limits{Wall: time.Minute}}); got != "alone" {
		t.Errorf("got %q", got)
	}
}

// A captureSink notes which files of this machine make up a tree.
type captureSink struct {
	mu    sync.Mutex // guards the fields below
	paths map[wire.Digest]string
	texts map[wire.Digest][]byte
	trees map[wire.Digest]*wire.Tree
}

func (s *captureSink) PutFile(_ context.Context, f *os.File, size int64) (wire.BlobID, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts[wire.Sum(b)] = b
	return wire.BlobID(wire.Sum(b)), err
}

// AddPath names a file after its path: to hash what is only laid out again would take long.
func (s *captureSink) AddPath(_ context.Context, p string) (wire.Object, error) {
	i, err := os.Stat(p)
	if err != nil {
		return wire.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := wire.Sum([]byte(p))
	s.paths[id] = p
	return wire.FileObject(wire.BlobID(id), uint64(i.Size()), i.Mode()&0o111 != 0), nil
}

func (s *captureSink) PutTree(_ context.Context, t *wire.Tree) (wire.TreeID, error) {
	id, _ := t.Encode()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trees[wire.Digest(id)] = t
	return id, nil
}

// write makes a directory of the tree.
func (s *captureSink) write(t *testing.T, tree wire.Digest, dir string) {
	for _, e := range s.trees[tree].Entries {
		p, err := filepath.Join(dir, e.Name), error(nil)
		switch e.Object.Kind {
		case wire.Dir:
			if err = os.Mkdir(p, 0o755); err == nil {
				s.write(t, e.Object.Digest, p)
			}
		case wire.Symlink:
			err = os.Symlink(e.Target, p)
		default:
			mode := fs.FileMode(0o644)
			if e.Object.Kind == wire.Exec {
				mode = 0o755
			}
			err = os.WriteFile(p, s.bytes(t, e.Object.Digest), mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (s *captureSink) bytes(t *testing.T, id wire.Digest) []byte {
	if p := s.paths[id]; p != "" {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return s.texts[id]
}

// captured makes a root of programs of this machine, or skips the test.
func captured(t *testing.T, names ...string) string {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			t.Skipf("%s is not installed", n)
		}
	}
	s := &captureSink{paths: map[wire.Digest]string{}, texts: map[wire.Digest][]byte{}, trees: map[wire.Digest]*wire.Tree{}}
	captured, err := capture.Tools(context.Background(), names, capture.Options{Path: DefaultPath}, s)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	s.write(t, captured.Object.Digest, root)
	return root
}

// TestUnracedPrograms runs programs that ask much of a sandbox, in roots that hold only what was captured.
func TestUnracedPrograms(t *testing.T) {
	const hello = "#include <stdio.h>\nint main(void) { printf(\"hello %d\\n\", 6 * 7); return 0; }\n"
	const threads = "import java.util.stream.*; public class A { public static void main(String[] a) throws Exception {" +
		"System.out.println(IntStream.range(0, 100000).parallel().mapToLong(i -> i).sum());" +
		"Thread t = new Thread(() -> System.out.println(System.getProperty(\"user.dir\"))); t.start(); t.join(); } }\n"
	// Redis's own quick test: a server, and clients that talk to it over loopback.
	const redis = `redis-server --port 7379 --save '' --daemonize no >/tmp/log &
		until redis-cli -p 7379 ping >/dev/null 2>&1; do sleep 0.02; done
		redis-cli -p 7379 set key value; redis-cli -p 7379 get key
		redis-benchmark -p 7379 -n 1000 -c 10 -q -t set,get,lpush >/tmp/rates; wc -l </tmp/rates
		redis-cli -p 7379 shutdown nosave; wait`
	// What git's t5570 begins with; the whole of it takes the sources of git and minutes to build.
	const daemon = `export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a
		git init -q --bare served.git; server=git://127.0.0.1:7418/served.git
		git daemon --listen=127.0.0.1 --port=7418 --base-path=. --export-all --enable=receive-pack --reuseaddr --pid-file=/tmp/pid 2>/tmp/log &
		until git ls-remote $server >/dev/null 2>&1; do sleep 0.02; done
		git clone -q $server one 2>/dev/null; cd one; git commit -q --allow-empty -m first; git push -q origin HEAD:main
		cd ..; git clone -q -b main $server two; git -C two log --format=%s; git ls-remote $server refs/heads/main | wc -l; kill $(cat /tmp/pid); wait`
	for _, c := range []struct {
		name   string
		tools  []string
		script string
		want   string
	}{
		{"redis", []string{"sh", "sleep", "wc", "redis-server", "redis-cli", "redis-benchmark"}, redis, "OK\nvalue\n"},
		{"git's server", []string{"sh", "cat", "sleep", "wc", "git"}, daemon, "first\n1"},
		{"locale", []string{"sh", "wc"}, `for l in C C.UTF-8; do printf '\303\251x' | LC_ALL=$l wc -m; done`, "3\n2"},
		{"clang", []string{"sh", "cat", "clang"}, "clang -O2 -o a a.c && ./a", "hello 42"},
		{"java from source", []string{"sh", "cat", "java", "javac"}, "java -Xshare:auto A.java", "4999950000\n/job"},
		{"a JVM without a compiler", []string{"sh", "grep", "keytool"}, `keytool -genkeypair -alias a -keyalg EC -dname CN=gaggle -storepass secret -keystore /tmp/keys 2>/dev/null
			keytool -list -v -storepass secret -keystore /tmp/keys | grep -e Owner -e Entries -e 'contains'`, "Your keystore contains 1 entry\nOwner: CN=gaggle"},
		{"python", []string{"sh", "python3"}, `python3 -c "
import http.server, threading, urllib.request, multiprocessing
s = http.server.HTTPServer(('127.0.0.1', 7080), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=s.serve_forever, daemon=True).start()
print(len(urllib.request.urlopen('http://localhost:7080/a.c').read()))
with multiprocessing.Pool(4) as p: print(sum(p.map(abs, range(-100, 0))))" 2>/dev/null`, "77\n5050"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 1)
			b.root = captured(t, c.tools...)
			dir := t.TempDir()
			s := Spec{Inputs: []Input{{Path: "a.c", Source: writeFile(t, filepath.Join(dir, "a.c"), hello, 0o644)},
				{Path: "A.java", Source: writeFile(t, filepath.Join(dir, "A.java"), threads, 0o644)}},
				Limits: Limits{Wall: 2 * time.Minute, MemBytes: 2 << 30}}
			if got := b.sh(c.script, s); !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

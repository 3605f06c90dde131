package sandbox

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"gaggle/wire"
)

// TestJobDir: a command finds its job directory where it is asked for, and only there; the next
// command in the slot finds nothing of it.
func TestJobDir(t *testing.T) {
	root := testRoot(t, map[string]string{"home/u/.keep": "", "home/u/proj/.keep": "", "home/dir/x": "", "bin/where": "#!/bin/sh\necho wrong\n"})
	if err := os.Symlink("dir", filepath.Join(root, "home/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, 1)
	source := writeFile(t, filepath.Join(t.TempDir(), "x"), "input", 0o644)
	tool := writeFile(t, filepath.Join(t.TempDir(), "tool"), "#!/bin/sh\necho right\n", 0o755)
	for _, dir := range []string{"/home/u/proj", "/tmp/a/b", "/empty/c/d", "/empty", "/home/u/proj", "/empty/e"} {
		s := Spec{Root: root, JobDir: dir, WorkDir: "src/deep", Inputs: []Input{{Path: "src/x", Source: source}, {Path: "bin/where", Source: tool, Exec: true}},
			Env: []string{"PATH=" + dir + "/bin:/bin"}, Outputs: []wire.Output{{Path: "src/out", Kind: wire.File}, {Path: wire.Stderr, Kind: wire.File}, {Path: wire.Stdout, Kind: wire.File}}}
		s.Argv = []string{"sh", "-c", "sleep 0.2; pwd; echo $PWD; cat ../x; ls " + dir + "; ls -A /job; where; ../../bin/where; echo made > ../out; echo said >&2"}
		r := b.run(s)
		if r.Failure != nil {
			t.Fatalf("in %s: %+v\n%s", dir, r.Failure, r.Stderr)
		}
		want := fmt.Sprintf("%s/src/deep\n%s/src/deep\ninputbin\nsrc\nright\nright\n", dir, dir)
		if got := b.sink.text(r.Outputs[2]); got != want {
			t.Errorf("in %s it saw\n%s\nwant\n%s", dir, got, want)
		}
		if out, said := b.sink.text(r.Outputs[0]), b.sink.text(r.Outputs[1]); out != "made\n" || said != "said\n" {
			t.Errorf("in %s it left %q and said %q", dir, out, said)
		}
		if got := b.sh("pwd; ls -A /empty /job /home/u/proj /tmp; where", Spec{Root: root}); got != "/job\n/empty:\n\n/home/u/proj:\n.keep\n\n/job:\n\n/tmp:\nwrong" {
			t.Errorf("after %s the next sees %q", dir, got)
		}
	}
	// What lies above it cannot be moved aside for a link, which the slot's process would follow.
	secret := testRoot(t, map[string]string{"secret/file": "another tenant's"})
	for _, c := range [][2]string{{"/tmp/a/secret", "/tmp/a"}, {"/tmp/secret", "/tmp/secret"}, {"/empty/a/secret", "/empty/a"}, {"/tmp/a/b/secret", "/tmp/a/b"}} {
		b.sh("true", Spec{Root: secret})
		s := Spec{Root: root, JobDir: c[0], Outputs: []wire.Output{{Path: "file", Kind: wire.File}}}
		s.Argv = []string{"sh", "-c", "for to in / /r0 /r1 /r2 /r3 /host; do mv " + c[1] + " " + path.Dir(c[1]) + "/z && ln -s $to " + c[1] + "; done; echo mine > " + c[0] + "/file"}
		r := b.run(s)
		if r.Failure != nil || b.sink.text(r.Outputs[0]) != "mine\n" || strings.Count(string(r.Stderr), "mv: ") != 6 {
			t.Errorf("moving %s aside: %+v\n%s", c[1], r, r.Stderr)
		}
	}
	// Without one, stderr is a file like any.
	r := b.run(Spec{Root: root, Argv: []string{"sh", "-c", "echo file > stderr; echo no >&2"}, Outputs: []wire.Output{{Path: wire.Stderr, Kind: wire.File}}})
	if r.Failure != nil || b.sink.text(r.Outputs[0]) != "file\n" {
		t.Errorf("stderr without a job directory: %+v", r)
	}
	for dir, want := range map[string]string{"/home/v": "/home is not empty", "/home/link": "no room for the job directory /home/link", "/none/v": "no room for the job directory /none/v", "/home/link/x": "no room", "/proc/self": "which the sandbox fills"} {
		r, err := b.e.Run(t.Context(), Spec{Root: root, Argv: []string{"true"}, JobDir: dir, Sink: b.sink})
		if text := fmt.Sprint(r.Failure, err); !strings.Contains(text, want) {
			t.Errorf("job directory %s: %s, want %q", dir, text, want)
		}
	}
	if got := b.sh("echo well", Spec{Root: root}); got != "well" {
		t.Errorf("after refusals: %q", got)
	}
}

package blobstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gaggle/wire"
)

// lay makes files from "path: content" lines; a path ending in / is a directory, one with -> a
// symlink, a content starting with #! an executable.
func lay(t testing.TB, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, l := range lines {
		if link, target, ok := strings.Cut(l, " -> "); ok {
			if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		name, content, _ := strings.Cut(l, ": ")
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(content, "#!") {
			mode = 0o755
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), mode)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// listing draws a tree as "path kind" lines.
func listing(t testing.TB, s *Store, o wire.Object) string {
	t.Helper()
	var b strings.Builder
	var walk func(id wire.Digest, prefix string)
	walk = func(id wire.Digest, prefix string) {
		tree, err := s.Tree(anna, wire.TreeID(id))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range tree.Entries {
			switch e.Object.Kind {
			case wire.Dir:
				fmt.Fprintf(&b, "%s%s/\n", prefix, e.Name)
				walk(e.Object.Digest, prefix+e.Name+"/")
			case wire.Symlink:
				fmt.Fprintf(&b, "%s%s -> %s\n", prefix, e.Name, e.Target)
			case wire.Exec:
				fmt.Fprintf(&b, "%s%s*\n", prefix, e.Name)
			default:
				fmt.Fprintf(&b, "%s%s\n", prefix, e.Name)
			}
		}
	}
	walk(o.Digest, "")
	return b.String()
}

// add adds a path and returns the last progress report.
func add(t testing.TB, s *Store, path string) (wire.Object, AddProgress) {
	t.Helper()
	var p AddProgress
	o, err := s.AddPath(t.Context(), anna, path, AddOptions{Progress: func(q AddProgress) { p = q }})
	if err != nil {
		t.Fatal(err)
	}
	return o, p
}

func TestAddPath(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	dir := lay(t, "a: 1", "sub/b: 22", "sub/run: #!/bin/sh", "sub/deep/c: ", "empty/", "l -> sub/b", "sub/up -> ../a",
		".git/config: x", "sub/.git: gitdir elsewhere", ".gaggleignore: *.o\n", "x.o: object")
	o, p := add(t, s, dir)
	want := "a\nempty/\nl -> sub/b\nsub/\nsub/b\nsub/deep/\nsub/deep/c\nsub/run*\nsub/up -> ../a\n"
	if got := listing(t, s, o); got != want {
		t.Errorf("AddPath gave\n%swant\n%s", got, want)
	}
	if o.Kind != wire.Dir || o.Size != uint64(len("1")+len("22")+len("#!/bin/sh")) {
		t.Errorf("object = %+v", o)
	}
	if p.Files != 6 || p.Hashed != 4 || p.HashedBytes != int64(o.Size) {
		t.Errorf("progress = %+v, want 6 files and 4 hashed", p)
	}
	if m, err := s.Missing(anna, o); err != nil || len(m) > 0 {
		t.Errorf("Missing = %v, %v", m, err)
	}
	f, _ := add(t, s, filepath.Join(dir, "sub", "run"))
	if f.Kind != wire.Exec || f.Digest != wire.Sum([]byte("#!/bin/sh")) {
		t.Errorf("a single file = %+v", f)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if again, _ := add(t, s, link); again != o {
		t.Errorf("through a symlink = %+v, want %+v", again, o)
	}
	// The user's file is a copy: editing it in place changes nothing here.
	os.WriteFile(filepath.Join(dir, "a"), []byte("2"), 0o644)
	if b, err := read(t, s, anna, wire.Sum([]byte("1"))); err != nil || string(b) != "1" {
		t.Errorf("after an edit in place: %q, %v", b, err)
	}
}

func TestAddPathRefuses(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has neither these names nor these files")
	}
	s := openStore(t, t.TempDir(), Options{})
	deviceOrSocket := func(t *testing.T) string {
		dir := lay(t, "d/a: 1")
		l, err := net.Listen("unix", filepath.Join(dir, "d", "sock"))
		if err != nil {
			t.Skipf("making a socket: %v", err)
		}
		t.Cleanup(func() { l.Close() })
		return dir
	}
	for name, c := range map[string]struct {
		dir  func(t *testing.T) string
		says []string
	}{
		"an absolute symlink":       {func(t *testing.T) string { return lay(t, "l -> /etc/passwd") }, []string{"/l", "absolute", "relative"}},
		"an escaping symlink":       {func(t *testing.T) string { return lay(t, "d/a: 1", "d/l -> ../../x") }, []string{"d/l", "leaves"}},
		"a symlink up after down":   {func(t *testing.T) string { return lay(t, "d/a: 1", "d/l -> x/../../y") }, []string{"d/l", "up after"}},
		"a socket":                  {deviceOrSocket, []string{"d/sock", "a socket", ".gaggleignore"}},
		"a name that is not UTF-8":  {func(t *testing.T) string { return lay(t, "d/\xff\xfe: 1") }, []string{`\xff\xfe`, "UTF-8", "rename"}},
		"a malformed .gaggleignore": {func(t *testing.T) string { return lay(t, "d/.gaggleignore: [a\n") }, []string{"d/.gaggleignore", "line 1", "[a"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := c.dir(t)
			_, err := s.AddPath(t.Context(), anna, dir, AddOptions{})
			if wire.CauseOf(err) != wire.CauseInvalid {
				t.Fatalf("AddPath = %v, want invalid", err)
			}
			for _, w := range c.says {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
	t.Run("devices", func(t *testing.T) {
		if _, err := s.AddPath(t.Context(), anna, "/dev/null", AddOptions{}); wire.CauseOf(err) != wire.CauseInvalid || !strings.Contains(err.Error(), "device") {
			t.Errorf("AddPath(/dev/null) = %v", err)
		}
	})
	t.Run("nothing there", func(t *testing.T) {
		if _, err := s.AddPath(t.Context(), anna, filepath.Join(t.TempDir(), "x"), AddOptions{}); wire.CauseOf(err) != wire.CauseNotFound {
			t.Errorf("AddPath = %v, want not found", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.AddPath(ctx, anna, lay(t, "a: 1"), AddOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("AddPath = %v, want cancelled", err)
		}
	})
}

func TestAddPathTooLarge(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{MaxBytes: 30 * charge(4096)})
	dir := t.TempDir()
	for i := range 60 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), noise(uint64(i), 4096), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.AddPath(t.Context(), anna, dir, AddOptions{}); wire.CauseOf(err) != wire.CauseDiskFull {
		t.Errorf("AddPath of twice the store = %v, want disk full", err)
	}
}

// believe makes the index believe the files of a directory, as if they had been left alone for
// long before they were read. Change times cannot be set, and tests do not wait.
func believe(t testing.TB, s *Store, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() || d.Name() == ".git" {
			return err
		}
		o, aerr := s.AddPath(t.Context(), anna, path, AddOptions{})
		if aerr != nil {
			return aerr
		}
		tree, terr := s.Tree(anna, wire.TreeID(o.Digest))
		if terr != nil {
			return terr
		}
		r := &dirRecord{tree: o.Digest, size: o.Size, entries: map[string]dirEntry{}}
		for _, e := range tree.Entries {
			de := dirEntry{object: e.Object, target: e.Target}
			if e.Object.Kind == wire.File || e.Object.Kind == wire.Exec {
				fi, err := os.Lstat(filepath.Join(path, e.Name))
				if err != nil {
					return err
				}
				de.id = identityOf(fi)
			}
			r.entries[e.Name] = de
		}
		s.meta.put(s.meta.index, dirKey(path), r.encode())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestIndex(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	dir := lay(t, "a: 1", "sub/b: 22", "sub/c: 333", "other/d: 4444", "other/l -> d")
	soon := time.Now().Add(time.Hour) // however slow this test is, they changed a moment ago
	for _, name := range []string{"a", "sub/b", "sub/c", "other/d"} {
		if err := os.Chtimes(filepath.Join(dir, name), soon, soon); err != nil {
			t.Fatal(err)
		}
	}
	o, _ := add(t, s, dir)
	if _, p := add(t, s, dir); p.Hashed != 4 {
		t.Errorf("files that changed a moment ago: %d were hashed again, want 4", p.Hashed)
	}
	believe(t, s, dir)
	s = reopen(t, s, Options{})
	o2, p := add(t, s, dir)
	if p.Hashed != 0 || p.Files != 5 || o2 != o {
		t.Errorf("unchanged files: %+v, %v; want none hashed and the same object", p, o2)
	}

	change := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	change("sub/b", "2x") // same size
	o3, p := add(t, s, dir)
	if p.Hashed != 1 || o3 == o2 {
		t.Errorf("one changed file: %d hashed, %v", p.Hashed, o3)
	}
	before, _ := s.Tree(anna, wire.TreeID(o2.Digest))
	after, _ := s.Tree(anna, wire.TreeID(o3.Digest))
	for i, e := range after.Entries {
		if (e.Object != before.Entries[i].Object) != (e.Name == "sub") {
			t.Errorf("entry %q: changed %v", e.Name, e.Object != before.Entries[i].Object)
		}
	}
	believe(t, s, dir)

	// The same bytes under an old modification time, as by cp -p: the change time tells.
	path := filepath.Join(dir, "sub/c")
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	change("sub/c", "3x3")
	os.Chtimes(path, fi.ModTime(), fi.ModTime())
	if _, p := add(t, s, dir); p.Hashed != 1 && runtime.GOOS != "windows" {
		t.Errorf("a file changed behind its modification time: %d hashed, want 1", p.Hashed)
	}
	believe(t, s, dir)
	for _, c := range []struct {
		name string
		act  func() error
	}{
		{"removed", func() error { return os.Remove(filepath.Join(dir, "sub/c")) }},
		{"new", func() error { change("sub/new", "5"); return nil }},
		{"executable", func() error { return os.Chmod(filepath.Join(dir, "a"), 0o755) }},
		{"symlink moved", func() error {
			return errors.Join(os.Remove(filepath.Join(dir, "other/l")), os.Symlink("gone", filepath.Join(dir, "other/l")))
		}},
		{"file to dir", func() error {
			return errors.Join(os.Remove(filepath.Join(dir, "sub/b")), os.Mkdir(filepath.Join(dir, "sub/b"), 0o755))
		}},
		{"ignored", func() error { change(".gaggleignore", "other/\n"); return nil }},
	} {
		name, act := c.name, c.act
		o, _ := add(t, s, dir)
		if err := act(); err != nil {
			t.Fatal(err)
		}
		changed, _ := add(t, s, dir)
		if changed == o {
			t.Errorf("%s: the object stays the same", name)
		}
		fresh := openStore(t, t.TempDir(), Options{})
		if want, _ := add(t, fresh, dir); want != changed {
			t.Errorf("%s: with an index %+v, without %+v", name, changed, want)
		}
		believe(t, s, dir)
	}

	// What was dropped from the store is read again.
	o, _ = add(t, s, dir)
	s.drop(wire.Sum([]byte("5")), "test")
	if again, p := add(t, s, dir); p.Hashed != 1 || again != o {
		t.Errorf("a dropped blob: %d hashed, %v", p.Hashed, again == o)
	}
	if m, err := s.Missing(anna, o); err != nil || len(m) > 0 {
		t.Errorf("Missing = %v, %v", m, err)
	}
	// Another space has to be given the bytes.
	if _, err := s.AddPath(t.Context(), ben, dir, AddOptions{}); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Missing(ben, o); err != nil || len(m) > 0 {
		t.Errorf("Missing in another space = %v, %v", m, err)
	}
}

func TestSettled(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(m, c time.Duration) identity {
		return identity{mtime: now.Add(m).UnixNano(), ctime: now.Add(c).UnixNano()}
	}
	for _, c := range []struct {
		id   identity
		want bool
	}{
		{at(-time.Hour, -time.Hour), true},
		{at(-2*time.Second, -2*time.Second), true},
		{at(-1999*time.Millisecond, -time.Hour), false},
		{at(-time.Hour, -time.Second), false},
		{at(-time.Hour, time.Minute), false}, // a clock that runs ahead
	} {
		if got := c.id.settled(now); got != c.want {
			t.Errorf("%+v settled = %v, want %v", c.id, got, c.want)
		}
	}
}

func TestIgnore(t *testing.T) {
	for _, c := range []struct {
		rules string
		out   string // left out
		in    string // kept
	}{
		{"*.o", "a.o d/a.o d/e/x.o", "a.c a.o.c"},
		{"name", "name d/name", "names d/a"},
		{"/name", "name", "d/name"},
		{"dir/", "dir/ d/dir/", "dir"},
		{"a/b", "a/b", "c/a/b b"},
		{"**/b", "b a/b a/c/b", "a/bb"},
		{"a/**", "a/x a/b/", "a/ b/a"},
		{"a/**/z", "a/z a/b/z a/b/c/z", "a/b z"},
		{"# x\n\n*.o\n!keep.o", "a.o", "keep.o # d/keep.o"},
		{"!a\na", "a", "b"},
		{"[ab].c\n[!a-y].h", "a.c b.c z.h", "c.c a.h"},
		{`\#x` + "\n" + `\!y` + "\nsp\\ \ntrail  ", "#x !y trail", "x y sp"},
		{"?", "a d/b", "ab"},
		{"**", "a d/e", ""},
		{"a/*/c/**/d/*.x", "a/b/c/d/1.x a/b/c/e/f/d/2.x", "a/c/d/1.x a/b/c/d/1.y"},
	} {
		list, err := parseRules([]byte(c.rules))
		if err != nil {
			t.Errorf("%q: %v", c.rules, err)
			continue
		}
		r := &rules{list: list}
		for _, p := range strings.Fields(c.out) {
			if path, dir := strings.CutSuffix(p, "/"); !r.skips(path, dir) {
				t.Errorf("%q keeps %q", c.rules, p)
			}
		}
		for _, p := range strings.Fields(c.in) {
			if path, dir := strings.CutSuffix(p, "/"); r.skips(path, dir) {
				t.Errorf("%q leaves out %q", c.rules, p)
			}
		}
	}
	s := openStore(t, t.TempDir(), Options{})
	dir := lay(t, ".gaggleignore: *.log\nout/\n/top\n", "a.log: ", "top: ", "out/x: ", "sub/.gaggleignore: !b.log\nonly\n", "sub/a.log: ",
		"sub/b.log: ", "sub/only: ", "sub/top: ", "sub/deep/only: ", "only: ")
	o, _ := add(t, s, dir)
	if got, want := listing(t, s, o), "only\nsub/\nsub/b.log\nsub/deep/\nsub/top\n"; got != want {
		t.Errorf("nested rules keep\n%swant\n%s", got, want)
	}
	for _, bad := range []string{"[a", "x\n[\n", "\xff", strings.Repeat("x\n", maxIgnoreLines+1), strings.Repeat("x", maxIgnoreFile+1)} {
		if _, err := parseRules([]byte(bad)); err == nil {
			t.Errorf("parseRules(%.20q) succeeds", bad)
		}
	}
}

func TestExport(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	src := lay(t, "a: 1", "sub/run: #!/bin/sh", "sub/deep/c: ", "empty/", "l -> sub/run", "sub/up -> ../a")
	big := noise(1, 3*chunkSize)
	os.WriteFile(filepath.Join(src, "big"), big, 0o644)
	o, _ := add(t, s, src)
	f := mustPut(t, s, anna, []byte("new"))
	export := func(o wire.Object, dst string, replace bool) error {
		return s.Export(t.Context(), anna, o, dst, ExportOptions{Replace: replace})
	}
	out := t.TempDir()
	tidy := func(t *testing.T, names ...string) {
		t.Helper()
		list, _ := os.ReadDir(out)
		var got []string
		for _, e := range list {
			got = append(got, e.Name())
		}
		if strings.Join(got, " ") != strings.Join(names, " ") {
			t.Errorf("the target's directory holds %v, want %v", got, names)
		}
	}

	dst := filepath.Join(out, "new", "tree")
	if err := export(o, dst, false); err != nil {
		t.Fatal(err)
	}
	if again, _ := add(t, s, dst); again != o {
		t.Errorf("written out and added again it is %+v, want %+v", again, o)
	}
	for name, want := range map[string]os.FileMode{"a": 0o644, "sub/run": 0o755, "sub": os.ModeDir | 0o755} {
		if fi, err := os.Stat(filepath.Join(dst, name)); err != nil || fi.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, fi, err, want)
		}
	}
	if err := export(o, dst, false); wire.CauseOf(err) != wire.CauseInvalid || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("over an existing directory: %v, want invalid with what to do", err)
	}
	os.WriteFile(filepath.Join(dst, "mine"), nil, 0o644)
	if err := export(o, dst, true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dst, "mine")); err == nil {
		t.Error("a replaced directory keeps old files")
	}
	if err := export(f, dst, true); wire.CauseOf(err) != wire.CauseInvalid {
		t.Errorf("a file over a directory: %v, want invalid", err)
	}
	os.RemoveAll(filepath.Join(out, "new"))

	// A symlink in the place of a file is replaced, not followed.
	outside := filepath.Join(t.TempDir(), "outside")
	os.WriteFile(outside, []byte("old"), 0o644)
	dst = filepath.Join(out, "file")
	if err := os.Symlink(outside, dst); err != nil {
		t.Fatal(err)
	}
	if err := export(f, dst, false); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(outside); string(b) != "old" {
		t.Errorf("the file behind a symlink is %q now", b)
	}
	if b, err := os.ReadFile(dst); err != nil || string(b) != "new" {
		t.Errorf("the target is %q, %v", b, err)
	}
	if err := export(o, dst, false); wire.CauseOf(err) != wire.CauseInvalid {
		t.Errorf("a directory over a file: %v, want invalid", err)
	}
	if err := export(o, dst, true); err != nil {
		t.Errorf("a directory over a file, with Replace: %v", err)
	}
	os.RemoveAll(dst)

	bad := mustTree(t, s, anna, entryOf("f", f), wire.Entry{Name: "l", Object: wire.Object{Kind: wire.Symlink}, Target: "/etc/passwd"})
	if err := export(bad, filepath.Join(out, "x", "y"), false); wire.CauseOf(err) != wire.CauseInvalid || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("an absolute symlink: %v, want invalid", err)
	}
	tidy(t)
	missing := mustTree(t, s, anna, entryOf("f", wire.FileObject(wire.BlobID{1}, 1, false)))
	if err := export(missing, filepath.Join(out, "x"), false); !errors.Is(err, ErrNotFound) {
		t.Errorf("a tree with a hole: %v, want ErrNotFound", err)
	}
	flip(t, s.path(anna, wire.Sum(big), plain), 1000)
	os.WriteFile(filepath.Join(out, "keep"), []byte("old"), 0o644)
	bigFile := wire.FileObject(wire.BlobID(wire.Sum(big)), uint64(len(big)), false)
	if err := export(bigFile, filepath.Join(out, "keep"), false); !errors.Is(err, ErrNotFound) {
		t.Errorf("a corrupt blob: %v, want ErrNotFound", err)
	}
	if b, _ := os.ReadFile(filepath.Join(out, "keep")); !bytes.Equal(b, []byte("old")) {
		t.Errorf("a failed export leaves %q", b)
	}
	tidy(t, "keep")
}

func TestExportFullDisk(t *testing.T) {
	out := smallDisk(t, 1<<20)
	s := openStore(t, t.TempDir(), Options{})
	f := mustPut(t, s, anna, noise(1, 4<<20))
	err := s.Export(t.Context(), anna, f, filepath.Join(out, "f"), ExportOptions{})
	if wire.CauseOf(err) != wire.CauseDiskFull {
		t.Errorf("Export = %v, want disk full", err)
	}
	if list, _ := os.ReadDir(out); len(list) > 0 {
		t.Errorf("left behind: %v", list)
	}
}

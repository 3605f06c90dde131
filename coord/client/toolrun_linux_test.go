package client

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"gaggle/coord/infer"
	"gaggle/wire"
)

// TestUnracedPermissions has gcc write over files, and compares the permissions that it leaves with ours.
func TestUnracedPermissions(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("there is no gcc")
	}
	umask := fs.FileMode(syscall.Umask(0o022))
	syscall.Umask(int(umask))
	dir := t.TempDir()
	source := filepath.Join(dir, "main.c")
	if err := os.WriteFile(source, []byte("int main(void) { return 0; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args   []string
		kind   wire.Kind
		before string
		mode   fs.FileMode
	}{
		"program":         {nil, wire.Exec, "", 0o600},
		"object":          {[]string{"-c"}, wire.File, "", 0o640},
		"assembly":        {[]string{"-S"}, wire.File, "", 0o600},
		"another program": {nil, wire.Exec, "not empty", 0o600},
		"another object":  {[]string{"-c"}, wire.File, "not empty", 0o600},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			if err := os.WriteFile(path, []byte(test.before), test.mode); err != nil {
				t.Fatal(err)
			}
			got := permissions(infer.Made{Path: path}, test.kind, umask)
			if out, err := exec.Command(gcc, append(test.args, "-o", path, source)...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if want := info.Mode().Perm(); got != want {
				t.Errorf("permissions are %v, gcc leaves %v", got, want)
			}
		})
	}
}

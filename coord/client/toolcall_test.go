package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// callBytes draws a call as a shim does.
func callBytes(args, env int, texts ...string) []byte {
	body := strings.Join(texts, "\x00") + "\x00"
	b := []byte("gag1")
	for _, n := range []int{16 + len(body), 0o027, 1, args, env} {
		b = binary.NativeEndian.AppendUint32(b, uint32(n))
	}
	return append(b, body...)
}

func TestReadToolCall(t *testing.T) {
	whole := callBytes(2, 3, "/usr/bin/gcc", "/home/u", "-c", "a b.c", "A=1", "AB=2", "A=3")
	c, err := readToolCall(iotest.OneByteReader(bytes.NewReader(whole)))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s %s %q %q %o", c.tool, c.dir, c.args, c.env, c.umask); got != `/usr/bin/gcc /home/u ["-c" "a b.c"] ["A=1" "AB=2" "A=3"] 27` {
		t.Errorf("read %s", got)
	}
	if c.variable("A") != "1" || c.variable("AB") != "2" || c.variable("B") != "" {
		t.Errorf("variables %q", c.env)
	}
	for n := range whole {
		if _, err := readToolCall(bytes.NewReader(whole[:n])); err == nil {
			t.Errorf("%d of %d bytes are taken for a call", n, len(whole))
		}
	}
	for name, b := range map[string][]byte{
		"another magic":   append([]byte("gag2"), whole[4:]...),
		"too few strings": callBytes(2, 0, "/usr/bin/gcc", "/home/u", "-c"),
		"too many":        callBytes(0, 0, "/usr/bin/gcc", "/home/u", "-c"),
		"none":            callBytes(0, 0),
		"huge counts":     callBytes(1<<31, 1<<31, "/usr/bin/gcc", "/home/u"),
		"a relative tool": callBytes(0, 0, "gcc", "/home/u"),
		"no directory":    callBytes(0, 0, "/usr/bin/gcc", ""),
	} {
		if _, err := readToolCall(bytes.NewReader(b)); !errors.Is(err, errToolCall) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReadToolCall(f *testing.F) {
	f.Add(callBytes(1, 1, "/usr/bin/gcc", "/home/u", "-c", "A=1"))
	f.Add(callBytes(0, 0, "/a", "/b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := readToolCall(bytes.NewReader(b))
		if err != nil {
			return
		}
		again := callBytes(len(c.args), len(c.env), slices.Concat([]string{c.tool, c.dir}, c.args, c.env)...)
		if len(again) > len(b) || !bytes.Equal(again[24:], b[24:len(again)]) {
			t.Errorf("%q was read as %+v", b, c)
		}
	})
}

// TestPlace: a file that is there gives way only to a whole one.
func TestPlace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.o")
	if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := place(iotest.ErrReader(broken), name, 0o600); !errors.Is(err, broken) {
		t.Errorf("place = %v", err)
	}
	if b, _ := os.ReadFile(name); string(b) != "old" {
		t.Errorf("after a failure it holds %q", b)
	}
	if err := place(strings.NewReader("new"), name, 0o640); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(name)); len(left) != 1 {
		t.Errorf("%d files are left", len(left))
	}
}

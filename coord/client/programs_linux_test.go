package client

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gaggle/coord/gate"
)

func TestBlind(t *testing.T) {
	dir := t.TempDir()
	whole, unmade := filepath.Join(dir, "whole"), filepath.Join(dir, "unmade")
	for name, size := range map[string]int{whole: 3, unmade: 256} {
		if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for command, want := range map[string]bool{
		"mkdir -p x":              true,
		"rm -f UNMADE":            true,
		"rm -f WHOLE":             false,
		"rm -f none UNMADE":       true,
		"rm -f lib.a WHOLE.o":     true,
		"rm -f lib.a WHOLE":       false,
		"mv -f UNMADE x":          true,
		"mv -f WHOLE x":           false,
		"mv UNMADE WHOLE x":       false,
		"mv none x":               true,
		"mv -ft x WHOLE":          false,
		"mv --targ=x WHOLE":       false,
		"ln -s UNMADE WHOLE":      true,
		"ln -f UNMADE x":          false,
		"chmod 755 UNMADE":        true,
		"chmod 755 UNMADE WHOLE":  false,
		"touch x":                 false,
		"cat UNMADE":              false,
		"stat UNMADE":             false,
		"/usr/bin/printf a WHOLE": true,
	} {
		words := strings.Fields(strings.NewReplacer("UNMADE", unmade, "WHOLE", whole).Replace(command))
		if got := (&Programs{}).blind(gate.Program{PID: os.Getpid(), Path: words[0], Words: words}); got != want {
			t.Errorf("%s: %v", command, got)
		}
	}
	many := append(slices.Repeat([]string{"none"}, gate.MaxWords-1), whole)
	if (&Programs{}).blind(gate.Program{PID: os.Getpid(), Path: "/bin/rm", Words: append([]string{"rm"}, many...)[:gate.MaxWords]}) {
		t.Error("one of whose words some are not known is let go on")
	}
	if (&Programs{}).blind(gate.Program{PID: os.Getpid(), Path: "/bin/mv"}) {
		t.Error("one whose words are not known is let go on")
	}
}

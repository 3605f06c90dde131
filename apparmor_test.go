package gaggle_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestAppArmorProfile has AppArmor's own parser read the profile that make install lays down. One
// older than 4.0 knows neither the rule about user namespaces nor that version of its language: it
// gets the profile without those.
func TestAppArmorProfile(t *testing.T) {
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		parser = "/sbin/apparmor_parser" // not on every user's PATH
	}
	if _, err := os.Stat(parser); err != nil {
		t.Skip("no apparmor_parser: ", err)
	}
	b, err := os.ReadFile("scripts/apparmor/gaggle")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), "@BIN@", "/usr/local/bin")
	if _, err := os.Stat("/etc/apparmor.d/abi/4.0"); err != nil {
		t.Log("this parser is older than 4.0: without its userns rule")
		newer := regexp.MustCompile(`(?m)^abi <abi/4\.0>,$|^ *userns,$`)
		if n := len(newer.FindAllString(text, -1)); n != 2 {
			t.Fatalf("the profile has %d lines that are new in 4.0, want 2", n)
		}
		text = newer.ReplaceAllString(text, "")
	}
	for _, c := range []struct {
		name, text string
		good       bool
	}{{"profile", text, true}, {"damaged", strings.Replace(text, "gaggle-node}", "gaggle-node", 1), false}} {
		file := filepath.Join(t.TempDir(), "gaggle")
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		// Neither loaded into the kernel nor cached.
		out, err := exec.Command(parser, "-Q", "-K", file).CombinedOutput()
		if (err == nil) != c.good {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
}

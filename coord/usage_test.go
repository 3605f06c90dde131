package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// What is wrong with a command line is said in our words, with what to do, and ends with 2.
func TestUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"sumbit", "coord: unknown command \"sumbit\"\n       did you mean \"submit\"?\n"},
		{"help sumbit", "coord: unknown command \"sumbit\"\n       did you mean \"submit\"?\n"},
		{"submit --trace /no/such/dir/x g.yaml", "coord: the trace cannot be written: open /no/such/dir/x: no such file or directory\n       name another file with --trace\n"},
		{"mesh foo", "coord: unknown command \"mesh foo\"\n       known here: ls, use, rm\n"},
		{"gc now", "coord gc: \"now\" is too much\n       coord gc [flags]\n"},
		{"submit a b", "coord submit: \"b\" is too much\n       coord submit [GRAPH|-] [flags]\n"},
		{"attach", "coord attach: name a job\n       coord status lists them\n"},
		{"infer", "coord infer: name a command that runs make\n       coord infer -- make\n"},
		{"submit -z", "coord submit: unknown flag -z\n       coord submit --help lists the flags\n"},
		{"submit --outt", "coord submit: unknown flag --outt\n       did you mean \"--out\"?\n"},
		{"submit --frobnicate", "coord submit: unknown flag --frobnicate\n       coord submit --help lists the flags\n"},
		{"submit --out", "coord submit: --out needs a value: DIR that the targets are written to\n       coord submit --help tells more\n"},
		{"run --gang x true", "coord run: --gang is \"x\", and should be a number\n       coord run --help tells more\n"},
		{"run --timeout 5 true", "coord run: --timeout is \"5\", and should be a duration, as 90s, 10m or 1h30m\n       coord run --help tells more\n"},
		{"submit --plan=maybe x", "coord submit: --plan is \"maybe\", and should be true or false\n       coord submit --help tells more\n"},
		{"submit --verify 200% x", "coord submit: --verify: \"200%\" is not a share: give 0% to 100%\n       coord submit --help tells more\n"},
		{"submit --verify 10% --check-determinism x", "coord submit: --verify and --check-determinism exclude each other\n       give one of them\n"},
		{"ticket --once --uses 3", "coord ticket: --once and --uses exclude each other\n       give one of them\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			said, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
			if err != nil {
				t.Fatal(err)
			}
			defer said.Close()
			if code := run(strings.Fields(c.args), os.Stdin, said, said); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			got, err := os.ReadFile(said.Name())
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("said\n%swant\n%s", got, c.want)
			}
		})
	}
}

// TestExclusiveChains: one set of flags that exclude each other leaves another in force.
func TestExclusiveChains(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--a --b", "--a and --b exclude each other"},
		{"--c --d", "--c and --d exclude each other"},
		{"--a --c", ""},
	} {
		cmd := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error { return nil }}
		for _, flag := range []string{"a", "b", "c", "d"} {
			cmd.Flags().Bool(flag, false, "")
		}
		exclusive(cmd, "a", "b")
		exclusive(cmd, "c", "d")
		cmd.SetArgs(strings.Fields(c.args))
		if err := cmd.Execute(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

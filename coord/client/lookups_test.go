package client

import (
	"fmt"
	"strings"
	"testing"

	"gaggle/sandbox"
)

func TestLookupsText(t *testing.T) {
	l := &sandbox.Lookups{
		Missing: []sandbox.Missing{
			{Path: "/etc/ld.so.preload", Use: "look"}, {Path: "/lib/libx.so", Use: "open", Elsewhere: true}, {Path: "/lib/python3/__pycache__/os.cpython-311.pyc", Use: "open"},
			{Path: "/opt/bin/conver", Use: "execute"}, {Path: "/job/\x1b[31m", Use: "open"},
		},
		Listed: []string{"/usr/lib/python3"}, Earlier: 2, Unread: 1,
	}
	want := `trace: it looked in vain for, in this order (beside 1 that it then found elsewhere, 2 that programs do without)
  ... 2 before these
  execute  /opt/bin/conver
  open     /job/?[31m
trace: it read these directories, and need not look for what is not in them
  list     /usr/lib/python3
trace: 1 file name could not be read (see kernel.yama.ptrace_scope)
`
	if got := lookupsText(l); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	l = &sandbox.Lookups{}
	for i := range shownLookups + 5 {
		l.Missing = append(l.Missing, sandbox.Missing{Path: fmt.Sprint("/", i), Use: "look"})
	}
	got := lookupsText(l)
	if first, last := "  ... 5 before these\n  look     /5\n", fmt.Sprintf("  look     /%d\n", shownLookups+4); !strings.Contains(got, first) || !strings.Contains(got, last) {
		t.Errorf("got\n%s\nwant %q and %q", got, first, last)
	}
}

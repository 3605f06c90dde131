package doctor

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gaggle/sandbox"
	"gaggle/wire"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

func TestUserNamespaces(t *testing.T) {
	can := func() error { return nil }
	cannot := func(err error) func() error {
		return func() error { return &os.PathError{Op: "fork/exec", Path: "/proc/self/exe", Err: err} }
	}
	for _, c := range []struct {
		name  string
		facts usersFacts
		state State
		fix   string
	}{
		{"all is well", usersFacts{most: "1000", clone: "1", apparmor: "0", try: can}, Fine, ""},
		{"an older kernel", usersFacts{try: can}, Fine, ""},
		{"switched off", usersFacts{most: "0", root: true, try: can}, Broken, "sudo sysctl -w user.max_user_namespaces=15000"},
		{"Debian's switch", usersFacts{clone: "0", try: can}, Broken, "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{"Debian's switch, as root", usersFacts{clone: "0", root: true, try: can}, Fine, ""},
		{"Ubuntu's AppArmor", usersFacts{apparmor: "1", unconfined: true, try: can}, Broken, "sudo make install"},
		{"Ubuntu's AppArmor with our profile", usersFacts{apparmor: "1", try: can}, Fine, ""},
		{"Ubuntu's AppArmor, as root", usersFacts{apparmor: "1", unconfined: true, root: true, try: can}, Fine, ""},
		{"too many", usersFacts{try: cannot(unix.ENOSPC)}, Broken, "sudo sysctl -w user.max_user_namespaces=100000"},
		{"not built in", usersFacts{try: cannot(unix.EINVAL)}, Broken, "CONFIG_USER_NS"},
		{"a container's filter", usersFacts{try: cannot(unix.EPERM)}, Broken, nesting()},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.facts.finding()
			if f.State != c.state || !strings.Contains(f.Fix, c.fix) || (f.Fix == "") != (c.state == Fine) {
				t.Errorf("finding = %+v, want %v and fix %q", f, c.state, c.fix)
			}
		})
	}
}

func TestMaskedProc(t *testing.T) {
	const plain = "25 30 0:22 / /proc rw,nosuid - proc proc rw\n26 25 0:23 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n"
	if got := maskedProc([]byte(plain)); len(got) != 0 {
		t.Errorf("maskedProc of a plain machine = %q", got)
	}
	const docker = plain + "27 25 0:22 /bus /proc/bus ro - proc proc rw\n28 25 0:24 /null /proc/kcore rw - tmpfs tmpfs rw\n29 25 0:24 /null /proc/kcore rw - tmpfs tmpfs rw\n"
	if got := strings.Join(maskedProc([]byte(docker)), " "); got != "/proc/bus /proc/kcore" {
		t.Errorf("maskedProc of a container = %q", got)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	f := port(l.LocalAddr().String())
	if f.State != Limited || !strings.Contains(f.Found, "is taken") || !strings.Contains(f.Fix, "--listen") {
		t.Errorf("port = %+v", f)
	}
}

func TestLook(t *testing.T) {
	dir := t.TempDir()
	where := ""
	c := Config{Dir: dir + "/not/there/yet", Build: "node", Thunk: func(_ context.Context, at string) error {
		where = at
		return nil
	}}
	found := Look(t.Context(), c)
	if !CanRun(found) || where != dir {
		t.Errorf("a thunk that runs, below %s, want %s: %+v", where, dir, found)
	}
	for _, f := range found {
		if f.State == Broken || f.State == Fine && f.Fix != "" || f.State != Fine && f.Fix == "" {
			t.Errorf("finding %+v: what needs mending has a fix, and what ran was not kept from it", f)
		}
	}
	c.Thunk = func(context.Context, string) error {
		return wire.Errorf(wire.CauseSandbox, "do this", "no slot could be made")
	}
	found = Look(t.Context(), c)
	var text bytes.Buffer
	if err := Print(&text, found); err != nil || CanRun(found) {
		t.Errorf("CanRun = %v, Print = %v", CanRun(found), err)
	}
	for _, want := range []string{"BROKEN   a real thunk", "no slot could be made\n", "fix: ", "still works: coord: "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("Print lacks %q:\n%s", want, &text)
		}
	}
	c.Dir = "/proc/nowhere"
	c.Thunk = func(context.Context, string) error { return errors.New("cannot write") }
	if found = Look(t.Context(), c); !strings.Contains(found[len(found)-1].Fix, "mend what is broken above: ") {
		t.Errorf("the last finding does not name what is broken: %+v", found)
	}
}

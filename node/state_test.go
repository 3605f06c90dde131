package main

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"testing"

	"gaggle/wire"
)

func TestSettingsAreKept(t *testing.T) {
	d := stateDir(t.TempDir())
	none, err := d.load()
	if err != nil || !reflect.DeepEqual(none, new(settings)) {
		t.Errorf("settings of a new node = %+v, %v", none, err)
	}
	if _, err := none.membership(); !errors.As(err, new(*usageError)) {
		t.Errorf("membership of a new node: %v, want a usage error", err)
	}
	want := &settings{Mesh: "m", Addrs: []string{"a"}, Certificate: []byte{1}, Slots: 3, Labels: map[string]string{"k": "v"}, Battery: true,
		Trusted: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}}
	for range 2 {
		if err := d.save(want); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := d.load(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("load = %+v, %v, want %+v", got, err, want)
	}
	if _, err := want.membership(); wire.CauseOf(err) != wire.CauseInvalid {
		t.Errorf("membership of damaged settings: %v", err)
	}
	if files, err := os.ReadDir(string(d)); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestDamagedSettings(t *testing.T) {
	for name, b := range map[string][]byte{"empty": nil, "cut": []byte(`{"mesh":"x`), "endless": bytes.Repeat([]byte(" "), 2*maxSettings)} {
		t.Run(name, func(t *testing.T) {
			d := stateDir(t.TempDir())
			if err := os.WriteFile(d.path("config.json"), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err := d.load(); wire.CauseOf(err) != wire.CauseInvalid {
				t.Errorf("load = %+v, %v, want an error that says what to do", s, err)
			}
		})
	}
}

func TestMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("nodes run on Linux")
	}
	if m := memory(); m < 64<<20 {
		t.Errorf("memory() = %s", sizeText(m))
	}
}

func TestTroubleIsToldOnce(t *testing.T) {
	var out bytes.Buffer
	tr := trouble{out: &out, addrs: []string{"/ip4/1.2.3.4/udp/7070/quic-v1"}}
	if tr.over() {
		t.Error("over before it began")
	}
	for range 3 {
		tr.say(errors.New("no answer"))
	}
	first := out.Len()
	if n := bytes.Count(out.Bytes(), []byte("cannot reach the coordinator at /ip4/1.2.3.4/udp/7070/quic-v1: no answer")); n != 1 {
		t.Errorf("said %d times: %s", n, out.String())
	}
	tr.say(wire.Errorf(wire.CauseClock, "set the clock", "the clocks differ"))
	if out.Len() == first {
		t.Error("another trouble was not told")
	}
	if !tr.over() || tr.over() {
		t.Error("over() is not true just once after troubles")
	}
	tr.say(errors.New("no answer"))
	if n := bytes.Count(out.Bytes(), []byte("cannot reach")); n != 2 {
		t.Errorf("a new trouble was told %s times in all, want twice", strconv.Itoa(n))
	}
}

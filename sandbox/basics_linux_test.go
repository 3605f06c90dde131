package sandbox

import (
	"testing"
)

func TestTrue(t *testing.T) {
	b := newBench(t, 1)
	r := b.run(Spec{Argv: []string{"true"}})
	if r.Failure != nil {
		t.Fatalf("%+v", r.Failure)
	}
	t.Log(b.sh("id; pwd; hostname; env; ls -la / /job /dev /tmp /proc; echo pid $$", Spec{}))
	t.Logf("%+v", r)
}

func TestUser(t *testing.T) { asUser(t, "^TestTrue$") }

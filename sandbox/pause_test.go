package sandbox

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestPauseTimeout: what a run is frozen does not bring its timeout nearer.
func TestPauseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pause
		var held []bool
		begun, late := time.Now(), time.Duration(0)
		p.begin(10*time.Second, func() { late = time.Since(begun) }, func(frozen bool) error {
			held = append(held, frozen)
			return nil
		})
		for range 3 { // runs 2 s, is frozen 60 s
			time.Sleep(2 * time.Second)
			if err := errors.Join(p.Freeze(), p.Freeze()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if now, total := p.Frozen(); !now || total%time.Minute != 0 {
				t.Errorf("Frozen() = %v, %v", now, total)
			}
			if err := p.Thaw(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := 10*time.Second + 3*time.Minute; late != want {
			t.Errorf("timed out after %v, want %v", late, want)
		}
		if err := p.Freeze(); err != nil {
			t.Fatal(err)
		}
		p.end()
		if len(held) != 8 || held[7] || !errors.Is(p.Thaw(), ErrNotRunning) {
			t.Errorf("after the end: %v", held)
		}
	})
}

// TestPauseWithout: where nothing can freeze, that is said, and the timeout comes all the same.
func TestPauseWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pause
		late := false
		p.begin(time.Second, func() { late = true }, nil)
		if err := p.Freeze(); !errors.Is(err, ErrCannotFreeze) {
			t.Errorf("Freeze() = %v", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !late {
			t.Error("no timeout")
		}
		p.end()
	})
}

package exchange

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// What goes out does not exceed the bound, whoever fetches.
func TestMaxUpload(t *testing.T) {
	for _, size := range []int{1 << 20, 4 << 20} { // whole, and in pieces
		synctest.Test(t, func(t *testing.T) {
			f := newFabric(t)
			a := f.node(func(c *Config) { c.MaxUpload = 1 << 20 })
			b, c := f.node(), f.node()
			o := a.put(t, lab, noise(1, size))
			begun := time.Now()
			done := make(chan error, 2)
			for _, n := range []*node{b, c} {
				go func() {
					_, err := n.fetch(o, a.id)
					done <- err
				}()
			}
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			want := time.Duration(2*size>>20) * time.Second
			if took := time.Since(begun); took < want-time.Second || took > 3*want/2 {
				t.Errorf("twice %d MiB took %v, want %v", size>>20, took, want)
			}
			f.close(a, b, c)
		})
	}
}

func TestMeterEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter{rate: 1}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := m.wait(ctx, 100); err != nil {
			t.Error(err)
		}
		if err := m.wait(ctx, 1); err != context.DeadlineExceeded {
			t.Errorf("wait = %v", err)
		}
	})
}

package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"

	"gaggle/wire"
)

// An older coordinator accepts a job without a word of its policy. All it is asked then is to stop it.
type older struct {
	coordinator
	asked chan *wire.Request
}

func (o *older) Open(context.Context) (io.ReadWriteCloser, error) {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		r := new(wire.Request)
		if wire.NewFrameReader(there).Read(r) == nil {
			o.asked <- r
			_ = wire.WriteFrame(there, &wire.Response{})
		}
	}()
	return here, nil
}

func TestOlderCoordinatorIsNotTrusted(t *testing.T) {
	for _, told := range []wire.Trust{wire.TrustAny, 2, wire.TrustOwn} { // the last proves nothing
		o := &older{asked: make(chan *wire.Request, 1)}
		b := &backend{ctx: t.Context(), log: slog.New(slog.DiscardHandler)}
		j := &job{b: b, link: &link{coordinator: o}, id: wire.JobID{1}, rec: &record{Trust: wire.TrustOwn}, accepted: make(chan struct{}), submit: new(submission)}
		var answer bytes.Buffer
		if err := wire.WriteFrame(&answer, &wire.Response{Accepted: &wire.Accepted{Job: j.id, Trust: told}}); err != nil {
			t.Fatal(err)
		}
		var e *wire.Error
		if err := j.read(t.Context(), &answer); !errors.As(err, &e) || e.Cause != wire.CauseVersion || !final(err) {
			t.Errorf("read = %v, want an error of the version", err)
		}
		if j.isAccepted() {
			t.Error("the job counts as accepted")
		}
		if r := <-o.asked; r.Cancel == nil || r.Cancel.Job != j.id {
			t.Errorf("asked for %+v, want the job cancelled", r)
		}
		b.work.Wait()
	}
}

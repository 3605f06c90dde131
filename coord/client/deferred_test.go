package client

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"gaggle/coord/infer"
	"gaggle/coord/placeholder"
)

// TestPlaceholdersThatNobodyKeeps: if the command's request for them does not come it is waited for once in a
// build, and by no call that could not be deferred anyway.
func TestPlaceholdersThatNobodyKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, enough := context.WithCancel(t.Context())
		begun := time.Now()
		d := &deferral{ctx: t.Context(), shared: make(chan struct{}), keptBy: begun.Add(keptWithin)}
		for name, c := range map[string]struct {
			caller toolCall
			call   infer.Call
		}{
			"of nobody known": {toolCall{}, infer.Call{}},
			"that lists":      {toolCall{pid: 1}, infer.Call{Mode: infer.List}},
			"that prints":     {toolCall{pid: 1}, infer.Call{Prints: true}},
			"of user's tools": {toolCall{pid: 1}, infer.Call{Mode: infer.User}},
		} {
			if d.takes(ctx, &c.caller, &c.call, new(infer.Draft)) || !time.Now().Equal(begun) {
				t.Errorf("a call %s is deferred, or waited %v to be not", name, time.Since(begun))
			}
		}
		for range 3 {
			if d.takes(ctx, &toolCall{pid: 1}, new(infer.Call), new(infer.Draft)) {
				t.Error("a call is deferred whose placeholders nobody keeps")
			}
		}
		if waited := time.Since(begun); waited != keptWithin {
			t.Errorf("three calls waited %v, want %v", waited, keptWithin)
		}
		d.share(nil) // late
		if !d.keptToo(ctx) {
			t.Error("the command keeps placeholders, and no call is deferred")
		}
		d = &deferral{ctx: t.Context(), shared: make(chan struct{}), keptBy: time.Now().Add(keptWithin)}
		enough()
		begun = time.Now()
		if d.keptToo(ctx) || !time.Now().Equal(begun) {
			t.Errorf("a call that is over waited %v", time.Since(begun))
		}
	})
}

// TestKeepBeforeEnds: a call that goes away does not wait for another one to fill its placeholder.
func TestKeepBeforeEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.o")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := placeholder.IDOf(info)
	d := &deferral{lazy: true}
	maker := &deferredCall{of: d, demanded: true, filled: make(chan struct{})}
	d.tools = &tools{pendings: &pendings{files: map[placeholder.ID]*pendingFile{id: {call: maker, path: file}}}}
	gone := errors.New("the caller is gone")
	ctx, leave := context.WithCancelCause(t.Context())
	leave(gone)
	if err := d.keepBefore(ctx, file); !errors.Is(err, gone) {
		t.Errorf("keepBefore = %v, want %v", err, gone)
	}
}

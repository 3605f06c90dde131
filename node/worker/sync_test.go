package worker

import (
	"testing"

	"gaggle/wire"
)

// TestNothingToSync: a new connection may find a queue that had reports only, and a wake-up for it.
func TestNothingToSync(t *testing.T) {
	var s syncer
	s.init()
	s.add("anna", []wire.Object{{Kind: wire.File, Size: 1}})
	s.renew()
	if items := s.take(); items != nil {
		t.Errorf("took %v of an empty queue, want nil", items)
	}
	s.add("anna", nil)
	s.addValue("ben", wire.ThunkID{1}, &wire.Value{})
	if items := s.take(); len(items) != 1 || items[0].space != "anna" {
		t.Errorf("took %v, want the one item of anna", items)
	}
	if items := s.take(); len(items) != 1 || items[0].space != "ben" {
		t.Errorf("took %v, want the one item of ben", items)
	}
	if items := s.take(); items != nil {
		t.Errorf("took %v in the end, want nil", items)
	}
}

package sched

import "gaggle/wire"

// admitJob returns why a tenant may not submit so much more now, nil if it may. What was accepted by
// an earlier life stays so.
func (s *State) admitJob(j *job, e *Submitted) *wire.Error {
	for i := range e.Tasks {
		j.bytes += int64(len(e.Tasks[i].Thunk))
	}
	tasks, bytes := len(e.Tasks), j.bytes
	for _, r := range s.live {
		if o := s.jobs.at(r); o != j && o.tenant == j.tenant && o.ended == nil {
			tasks += o.open
			bytes += o.bytes
		}
	}
	const hint = "submit again when one of its jobs has ended, or raise --max-queued of coord serve"
	switch {
	case e.Recorded:
	case tasks > s.cfg.MaxQueued:
		return wire.Errorf(wire.CauseBusy, hint, "tenant %s would have %d tasks queued; the limit is %d", j.tenant.name, tasks, s.cfg.MaxQueued)
	case bytes > s.cfg.MaxQueuedBytes:
		return wire.Errorf(wire.CauseBusy, hint, "tenant %s would have thunks of %s queued; the limit is %s",
			j.tenant.name, bytesText(bytes), bytesText(s.cfg.MaxQueuedBytes))
	}
	return nil
}

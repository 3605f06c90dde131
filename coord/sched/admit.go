package sched

import "gaggle/wire"

// admitJob returns why a tenant may not submit so much more now, nil if it may. What was accepted by
// an earlier life stays so.
func (s *State) admitJob(j *job, more []wire.TaskSpec) *wire.Error {
	for i := range more {
		j.bytes += int64(len(more[i].Thunk))
	}
	tasks, bytes := max(j.coming.Total, len(j.coming.Tasks)), j.bytes
	for _, r := range s.live {
		if o := s.jobs.at(r); o != j && o.tenant == j.tenant && o.ended == nil {
			tasks += o.open
			if o.coming != nil {
				tasks += max(0, o.coming.Total-len(o.coming.Tasks))
			}
			bytes += o.bytes
		}
	}
	const hint = "submit again when one of its jobs has ended, or raise --max-queued of coord serve"
	switch {
	case j.coming.Recorded:
	case tasks > s.cfg.MaxQueued:
		return wire.Errorf(wire.CauseBusy, hint, "tenant %s would have %d tasks queued; the limit is %d", j.tenant.name, tasks, s.cfg.MaxQueued)
	case bytes > s.cfg.MaxQueuedBytes:
		return wire.Errorf(wire.CauseBusy, hint, "tenant %s would have thunks of %s queued; the limit is %s",
			j.tenant.name, bytesText(bytes), bytesText(s.cfg.MaxQueuedBytes))
	}
	return nil
}

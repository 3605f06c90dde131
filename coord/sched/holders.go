package sched

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Who waits for a slot is told which jobs' commands keep them busy: those of its own space by their
// ids, others as a number.

// shownHolders is how many jobs are named; the others are counted.
const shownHolders = 3

// A holders is who keeps the slots busy, as it is found once for an answer.
type holders struct {
	s    *State
	busy map[nodeRef]map[jobRef]int // slots whose commands have begun; nil before it is asked for
	next map[jobRef]nodeRef         // where something is offered that has not begun
	said map[asker]string           // what whose answered
}

// An asker is a job whose runs ask for a class: 10^5 of them are told the same of 1,000 nodes.
type asker struct {
	job jobRef
	of  classKey
}

// whoseOf is whose for the nodes of a class.
func (h *holders) whoseOf(j *job, c *class) string {
	a := asker{j.ref, c.classKey}
	why, ok := h.said[a]
	if !ok {
		if h.said == nil {
			h.said = map[asker]string{}
		}
		why = h.whose(j, c.nodes)
		h.said[a] = why
	}
	return why
}

// find takes down all leases, once.
func (h *holders) find() {
	if h.busy != nil {
		return
	}
	h.busy, h.next = map[nodeRef]map[jobRef]int{}, map[jobRef]nodeRef{}
	for _, n := range h.s.nodes[1:] {
		jobs := map[jobRef]int{}
		for _, l := range n.leases {
			run := h.s.runs.at(l.run)
			if run.lead == 0 {
				continue
			}
			if j := h.s.jobOfTask(h.s.tasks.at(run.lead)); l.began {
				jobs[j.ref] += l.slots
			} else if run.gang == nil {
				h.next[j.ref] = n.ref
			}
		}
		h.busy[n.ref] = jobs
	}
}

// whose returns who keeps slots of the nodes busy, as a job is told, ": 4 held by job j12, 2 by this
// job"; "" if it is nobody but the job itself.
func (h *holders) whose(j *job, nodes []nodeRef) string {
	h.find()
	held := map[jobRef]int{}
	for _, n := range nodes {
		for job, slots := range h.busy[n] {
			held[job] += slots
		}
	}
	type part struct {
		who   string
		slots int
	}
	var parts []part
	var more, others, calls part
	moreJobs, otherJobs := 0, 0
	for r, slots := range held {
		switch o := h.s.jobs.at(r); {
		case o.space != j.space:
			otherJobs++
			others.slots += slots
		case r == j.ref:
			parts = append(parts, part{"this job", slots})
		case o.passing: // too many to name
			calls.slots += slots
		default:
			parts = append(parts, part{"job " + o.id.String(), slots})
		}
	}
	if len(held) == 0 || len(held) == 1 && held[j.ref] > 0 {
		return ""
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(b.slots-a.slots, cmp.Compare(a.who, b.who)) })
	for len(parts) > shownHolders {
		last := len(parts) - 1
		more.slots += parts[last].slots
		moreJobs++
		parts = parts[:last]
	}
	more.who, others.who, calls.who = jobsText(moreJobs, "more of this tenant"), jobsText(otherJobs, "of other tenants"), "calls of builds"
	var texts []string
	for _, p := range append(parts, more, calls, others) {
		switch {
		case p.slots == 0:
		case texts == nil:
			texts = append(texts, fmt.Sprintf("%d held by %s", p.slots, p.who))
		default:
			texts = append(texts, fmt.Sprintf("%d by %s", p.slots, p.who))
		}
	}
	return ": " + strings.Join(texts, ", ")
}

// jobsText writes "2 jobs of other tenants".
func jobsText(n int, whose string) string {
	if n == 1 {
		return "1 job " + whose
	}
	return fmt.Sprintf("%d jobs %s", n, whose)
}

// whyJobWaits says what a job waits for of which nothing runs, but runs could; "" if there are none.
func (h *holders) whyJobWaits(j *job) string {
	if j.passing || j.counts.Running > 0 || j.counts.Ready == 0 || j.coming != nil {
		return ""
	}
	if j.queued > 0 {
		run := h.s.aimed(h.s.runs.at(h.s.first(j)))
		if len(h.s.byLoad) > 0 && h.whoseOf(j, run.class) == "" {
			return "" // it is about to run
		}
		return h.whyReady(j, run)
	}
	h.find()
	if n, ok := h.next[j.ref]; ok {
		if why := h.whose(j, []nodeRef{n}); why != "" {
			return "waiting for a slot on " + h.s.nodes[n].hello.Name + why
		}
	}
	return ""
}

// whyReady says what a run waits for that is ready.
func (h *holders) whyReady(j *job, run *run) string {
	run = h.s.aimed(run)
	if len(h.s.byLoad) == 0 {
		return h.s.whyStuck(run)
	}
	return "waiting for a slot" + h.whoseOf(j, run.class)
}

// whyLeased says what a run waits for that a node has and has not begun; "" if it does not wait.
func (h *holders) whyLeased(j *job, run *run) string {
	l := run.lease()
	if run.gang != nil || l == nil || l.began || l.node.idle() {
		return h.s.whyMemberWaits(run)
	}
	if l.node.running < l.node.hello.Slots {
		return ""
	}
	return "waiting for a slot on " + l.node.hello.Name + h.whose(j, []nodeRef{l.node.ref})
}

// whyGangWaits adds who keeps slots to what a gang waits for.
func (h *holders) whyGangWaits(j *job, g *gang) string {
	why := h.s.whyGangWaits(g)
	if strings.HasPrefix(why, forSlots) {
		why += h.whoseOf(j, h.s.runs.at(g.members[0].run).class)
	}
	return why
}

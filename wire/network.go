package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// A Network is what the members of one generation of a gang reach each other by, and nothing else
// does: its frames carry its VNI, which the coordinator gives to no other before it has rested for
// long. A node is told of it before it is offered the first of its members.
type Network struct {
	VNI     uint32      `cbor:"vni"` // 1 to MaxVNI
	Space   Space       `cbor:"space"`
	Members []NetMember `cbor:"members"` // all of the gang, at most MaxGang
}

// A NetMember is one task on a network. Others find it by the name of its task, and where there are
// several by that name, a hyphen and its index: see HostName.
type NetMember struct {
	Task  string `cbor:"task"`
	Index int    `cbor:"index,omitempty"` // 0 to Count-1
	Count int    `cbor:"count"`           // instances of the task; 1 or more
	Host  uint16 `cbor:"host"`            // number of its node, 1 to MaxHost
	Peer  PeerID `cbor:"peer"`            // its node
	// Ready is the TCP port that has to listen before those start that wait; 0 if it need not.
	Ready   uint16 `cbor:"ready,omitempty"`
	Service bool   `cbor:"service,omitempty"` // it ends when all others have
}

// Waits reports whether the member starts only when all that have a Ready port listen: services
// start at once, and so do those that others wait for.
func (m *NetMember) Waits() bool { return !m.Service && m.Ready == 0 }

// HostName is the name of this one instance, in lower case. The task's own name is that of all its
// instances, and if Count is 1 both are.
func (m *NetMember) HostName() string {
	return strings.ToLower(m.Task) + "-" + strconv.Itoa(m.Index)
}

// A Place is where a thunk is on a network.
type Place struct {
	VNI    uint32 `cbor:"vni"`
	Member int    `cbor:"member"` // in Network.Members
}

// Check returns an error unless n may be told to a node: it holds the bounds, its members are told
// apart, and their names lead to one of them or to the instances of one task.
func (n *Network) Check() error {
	switch {
	case n.VNI == 0 || n.VNI > MaxVNI:
		return fmt.Errorf("network %d: the number is not 1 to %d", n.VNI, MaxVNI)
	case !n.Space.Valid():
		return fmt.Errorf("network %d is of the space %q", n.VNI, n.Space)
	case len(n.Members) == 0 || len(n.Members) > MaxGang:
		return fmt.Errorf("network %d has %d members, want 1 to %d", n.VNI, len(n.Members), MaxGang)
	}
	names := HostNames{}
	for i := range n.Members {
		m := &n.Members[i]
		if m.Host == 0 || m.Host > MaxHost || m.Peer.IsZero() {
			return fmt.Errorf("network %d: member %d is on node %d, which is none", n.VNI, i, m.Host)
		}
		if err := names.Add(m.Task, m.Index, m.Count); err != nil {
			return fmt.Errorf("network %d: %w", n.VNI, err)
		}
	}
	return nil
}

// HostNames are the names of a network's members as they are added.
type HostNames map[string]hostName

// A hostName is what a name leads to.
type hostName struct {
	task  string // as it is written
	count int
	one   bool // it is of one instance
}

// Add takes a member in, or says why it cannot be one: its name is none by CheckHostName, its index
// is not below its count, or one of its names is another's.
func (h HostNames) Add(task string, index, count int) error {
	if err := CheckHostName(task); err != nil {
		return err
	}
	if count < 1 || count > MaxGang || index < 0 || index >= count {
		return fmt.Errorf("instance %d of %d of task %q", index, count, task)
	}
	m := NetMember{Task: task, Index: index}
	all, one := strings.ToLower(task), m.HostName()
	switch o, there := h[all]; {
	case !there:
		h[all] = hostName{task: task, count: count}
	case o.one:
		return fmt.Errorf("task %q and an instance of task %q have the same name on the network", task, o.task)
	case o.task != task:
		return fmt.Errorf("tasks %q and %q have the same name on the network, which knows no capitals", o.task, task)
	case o.count != count:
		return fmt.Errorf("task %q has %d instances and %d", task, o.count, count)
	}
	if o, there := h[one]; there {
		if o.one && o.task == task {
			return fmt.Errorf("instance %d of task %q is there twice", index, task)
		}
		return fmt.Errorf("task %q and an instance of task %q have the same name on the network", o.task, task)
	}
	h[one] = hostName{task: task, one: true}
	return nil
}

// maxLabel bounds a label of a host name (RFC 1035, 63 bytes) less the hyphen and the index.
const maxLabel = 63 - len("-1023")

// CheckHostName returns an error unless a task of this name can be on a network. The name is looked
// up as it is, so it must not be something that libraries take for an address (inet_aton(3) takes
// "1" and "0x7f.1") or for the machine itself, and it has to have the labels of RFC 1035.
func CheckHostName(task string) error {
	if !ValidName(task) {
		return fmt.Errorf("task %q is no usable name", task)
	}
	address := true
	for label := range strings.SplitSeq(task, ".") {
		if label == "" || len(label) > maxLabel {
			return fmt.Errorf("task %q cannot be looked up: between dots a name on a network has 1 to %d characters", task, maxLabel)
		}
		if label[0] == '-' {
			return fmt.Errorf("task %q cannot be looked up: it begins with a hyphen, or a part of it does", task)
		}
		address = address && number(label)
	}
	if address || strings.EqualFold(task, "localhost") {
		return fmt.Errorf("task %q cannot be looked up: programs take it for an address of their own machine", task)
	}
	return nil
}

// number reports whether inet_aton takes s for a part of an address.
func number(s string) bool {
	digits := "0123456789"
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") {
		s, digits = s[2:], "0123456789abcdefABCDEF"
	}
	return strings.Trim(s, digits) == ""
}

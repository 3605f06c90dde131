package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// membersFile is in a coordinator's state directory, and names whom it gave certificates.
const membersFile = "members.json"

// A memberRow is who got a certificate last, as JSON.
type memberRow struct {
	Peer    wire.PeerID  `json:"peer"`
	Name    string       `json:"name"` // as the machine called itself when it joined
	Owner   string       `json:"owner"`
	Roles   wire.Role    `json:"roles"`
	Tenants []wire.Space `json:"tenants,omitempty"`
	Expires int64        `json:"expires"` // Unix seconds
}

// maxMembers bounds the file: twice the members of the largest mesh. The certificate that ends first
// is forgotten first, which takes nothing from its holder.
const maxMembers = 2 * wire.MaxPeers

// A memberList is the file while coord serve runs.
type memberList struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex // guards the fields below
	rows  map[wire.PeerID]memberRow
	dirty bool // not in the file yet
}

// openMembers reads the list. One that is damaged begins anew: it is for people only.
func openMembers(path string, log *slog.Logger) *memberList {
	l := &memberList{path: path, log: log, rows: map[wire.PeerID]memberRow{}}
	rows, err := readMembers(path)
	if err != nil {
		log.Warn("the list of members begins anew", "error", err)
	}
	for _, r := range rows {
		l.rows[r.Peer] = r
	}
	return l
}

// readMembers returns the rows of the file, none if there is no file.
func readMembers(path string) (rows []memberRow, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &rows)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return rows, nil
}

// add notes a certificate that is being given. It is a peer.Registry's Issued.
func (l *memberList) add(c *wire.Certificate, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name == "" {
		name = l.rows[c.Peer].Name
	}
	l.rows[c.Peer] = memberRow{c.Peer, name, c.Owner, c.Roles, c.Tenants, c.Expires}
	l.dirty = true
	if len(l.rows) <= maxMembers {
		return
	}
	first := l.rows[c.Peer]
	for _, r := range l.rows {
		if r.Expires < first.Expires {
			first = r
		}
	}
	delete(l.rows, first.Peer)
}

// save writes the list if it has changed.
func (l *memberList) save() {
	l.mu.Lock()
	rows := make([]memberRow, 0, len(l.rows))
	for _, r := range l.rows {
		rows = append(rows, r)
	}
	dirty := l.dirty
	l.dirty = false
	l.mu.Unlock()
	if !dirty {
		return
	}
	slices.SortFunc(rows, func(a, b memberRow) int { return slices.Compare(a.Peer[:], b.Peer[:]) })
	b, err := json.Marshal(rows)
	if err == nil {
		err = replaceFile(l.path, b)
	}
	if err != nil {
		l.log.Warn("the list of members is not kept", "error", err)
	}
}

// replaceFile writes a file of which a reader sees the old bytes or the new.
func replaceFile(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (a *app) membersCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "members",
		Short: "List the machines that have a certificate of the mesh",
		Long: `List the machines that got a certificate of the mesh whose coordinator runs on this machine, whether
they are connected or not. Its state directory is that of coord serve. Coord nodes shows what those
do that are connected.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.meshDir()
			if err != nil {
				return err
			}
			rows, err := readMembers(filepath.Join(dir, membersFile))
			if err != nil {
				return err
			}
			ended, err := revokedIn(dir)
			if err != nil {
				return err
			}
			return a.printMembers(rows, ended)
		},
	}
	a.addServeState(c)
	return c
}

// revokedIn returns the revocations that the coordinator of a state directory has kept.
func revokedIn(dir string) (map[wire.PeerID]*wire.Revocation, error) {
	mesh, err := peer.LoadKey(filepath.Join(dir, "mesh.key"))
	if err != nil {
		return nil, err
	}
	return peer.ReadRevoked(filepath.Join(dir, revokedFile), wire.PeerOf(mesh))
}

func (a *app) printMembers(rows []memberRow, ended map[wire.PeerID]*wire.Revocation) error {
	slices.SortFunc(rows, func(a, b memberRow) int { return strings.Compare(a.Name, b.Name) })
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tOWNER\tROLES\tCERTIFICATE\tPEER")
	now := time.Now()
	for _, r := range rows {
		state := "until " + time.Unix(r.Expires, 0).Format(time.DateOnly)
		if e := ended[r.Peer]; e != nil {
			state = "revoked " + time.Unix(e.At, 0).Format(time.DateOnly)
		} else if now.Unix() > r.Expires {
			state = "ran out " + time.Unix(r.Expires, 0).Format(time.DateOnly)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Owner, roleNames(r.Roles), state, r.Peer)
	}
	return w.Flush()
}

func roleNames(r wire.Role) string {
	var names []string
	for _, n := range []struct {
		role wire.Role
		name string
	}{{wire.RoleNode, "node"}, {wire.RoleClient, "tenant"}, {wire.RoleCoordinator, "coordinator"}} {
		if r&n.role != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

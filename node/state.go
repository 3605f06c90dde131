package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"gaggle/overlay/peer"
	"gaggle/wire"
)

// settings are what a node was told and keeps, as JSON in config.json.
type settings struct {
	Mesh        string            `json:"mesh"`        // id of the mesh key
	Coordinator string            `json:"coordinator"` // peer id
	Addrs       []string          `json:"addrs"`       // of the coordinator
	Certificate []byte            `json:"certificate"` // of membership
	Name        string            `json:"name,omitempty"`
	Slots       int               `json:"slots,omitempty"` // 0 is the default
	Listen      string            `json:"listen,omitempty"`
	StoreMax    int64             `json:"store_max,omitempty"`  // 0 is the default
	MaxUpload   int64             `json:"max_upload,omitempty"` // bytes per second; 0 is no bound
	Labels      map[string]string `json:"labels,omitempty"`
	Battery     bool              `json:"battery,omitempty"`
	Metered     bool              `json:"metered,omitempty"`
	HTTP        string            `json:"http,omitempty"`          // address of /metrics; "" is none
	Trusted     []netip.Prefix    `json:"trusted_cidrs,omitempty"` // in which the kernel moves tasks' packets; none: it moves none
	Unbounded   bool              `json:"unbounded,omitempty"`     // other tenants' tasks, too, without bounds
}

// raise has settings that an earlier version took and this one does not be the next that it does, and
// reports whether there were any.
func (s *settings) raise() bool {
	if s.MaxUpload <= 0 || s.MaxUpload >= minUpload {
		return false
	}
	s.MaxUpload = minUpload
	return true
}

// A stateDir is the directory of one node.
type stateDir string

func (d stateDir) path(name string) string { return filepath.Join(string(d), name) }

// make creates the directory. Slots of the sandbox have other users, who may pass through; what
// is secret has its own mode.
func (d stateDir) make() error {
	if err := os.MkdirAll(string(d), 0o711); err != nil {
		return wire.Errorf(wire.CauseInvalid, "name another directory with --state",
			"cannot make the state directory: %v", err)
	}
	return nil
}

// key returns the identity of this machine, made on first use.
func (d stateDir) key() (ed25519.PrivateKey, error) { return peer.LoadKey(d.path("key")) }

// maxSettings bounds the file: addresses, labels and a certificate are a few kilobytes.
const maxSettings = 256 << 10

// load reads the settings; of a new node they are empty.
func (d stateDir) load() (*settings, error) {
	s := new(settings)
	f, err := os.Open(d.path("config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSettings))
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "remove it and join again: node --join TICKET",
			"the settings in %s are damaged: %v", f.Name(), err)
	}
	return s, nil
}

// save replaces the settings, at once and durably.
func (d stateDir) save(s *settings) (err error) {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(string(d), ".config-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keeping the settings: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("keeping the settings: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), d.path("config.json"))
	}
	return err
}

// A membership is settings, read.
type membership struct {
	mesh, coordinator wire.PeerID
	cert              *wire.Certificate
}

// membership returns what the node is a member of.
func (s *settings) membership() (*membership, error) {
	if s.Mesh == "" {
		return nil, usagef("start it once as node --join TICKET; coord serve prints the ticket",
			"this machine has not joined a mesh yet")
	}
	m := new(membership)
	var err error
	if m.mesh, err = wire.ParsePeerID(s.Mesh); err == nil {
		m.coordinator, err = wire.ParsePeerID(s.Coordinator)
	}
	if err == nil {
		m.cert, err = wire.DecodeCertificate(s.Certificate)
	}
	if err != nil {
		return nil, wire.Errorf(wire.CauseInvalid, "join again: node --join TICKET",
			"the settings of this node are damaged: %v", err)
	}
	return m, nil
}

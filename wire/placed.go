package wire

import (
	"fmt"
	"path"
	"strings"
)

// A placedThunk is a Thunk with a JobDir as it is encoded.
type placedThunk struct {
	_               struct{} `cbor:",toarray"`
	Version         uint64
	Command         []string
	Env             []EnvVar
	Root            TreeID
	Inputs          []Input
	Outputs         []Output
	Stdin           string
	Platform        string
	ABI             uint64
	JobDir, WorkDir string
}

func (p *placedThunk) thunk() *Thunk {
	return &Thunk{
		Version: p.Version, Command: p.Command, Env: p.Env, Root: p.Root, Inputs: p.Inputs, Outputs: p.Outputs, Stdin: p.Stdin, Platform: p.Platform, ABI: p.ABI,
		JobDir: p.JobDir, WorkDir: p.WorkDir,
	}
}

// ownDirs are those that every root has and the sandbox fills, so that no job directory can be
// there.
var ownDirs = []string{"/dev", "/proc", "/job"}

// CheckJobDir returns an error unless dir can be Thunk.JobDir: absolute, clean, at most as long as
// any path, and not one of the directories that the sandbox fills.
func CheckJobDir(dir string) error {
	if !strings.HasPrefix(dir, "/") || path.Clean(dir) != dir || dir == "/" {
		return fmt.Errorf("job directory %q is not a clean absolute path below /", dir)
	}
	if err := CheckPath(dir[1:]); err != nil {
		return fmt.Errorf("job directory: %w", err)
	}
	for _, own := range ownDirs {
		if dir == own || strings.HasPrefix(dir, own+"/") {
			return fmt.Errorf("job directory %q is in %s, which the sandbox fills", dir, own)
		}
	}
	if dir == "/tmp" {
		return fmt.Errorf("job directory %q is that of temporary files", dir)
	}
	return nil
}

func (t *Thunk) checkPlace() error {
	if !t.Placed() {
		if t.WorkDir != "" {
			return fmt.Errorf("working directory %q without a job directory", t.WorkDir)
		}
		return nil
	}
	if t.Builtin() || t.ABI != ABIPlaced {
		return fmt.Errorf("job directory %q of a thunk of sandbox profile %d, want %d", t.JobDir, t.ABI, ABIPlaced)
	}
	if err := CheckJobDir(t.JobDir); err != nil {
		return err
	}
	if t.WorkDir == "" {
		return nil
	}
	return CheckPath(t.WorkDir)
}

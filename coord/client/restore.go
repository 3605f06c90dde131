package client

import (
	"context"
	"fmt"
	"io"
	"strings"

	"gaggle/coord/infer"
	"gaggle/wire"
)

// maxNames bounds a text that names files: a linker's map of a program of 100 MB has some 50 MB.
const maxNames = 256 << 20

// restore has the texts among the outputs of a portable plan name files as they are called here.
func (t *tools) restore(ctx context.Context, space wire.Space, p *infer.Plan, m *made) error {
	for i, o := range p.Thunk.Outputs {
		if !p.Names(o.Path) {
			continue
		}
		text, err := t.text(space, m.outputs[i])
		if err != nil {
			return err
		}
		restored := p.Restore(text)
		if restored == text {
			continue
		}
		id, size, err := t.b.store.Put(ctx, space, strings.NewReader(restored))
		if err != nil {
			return err
		}
		m.outputs[i] = wire.FileObject(id, uint64(size), m.outputs[i].Kind == wire.Exec)
	}
	return nil
}

func (t *tools) text(space wire.Space, o wire.Object) (string, error) {
	if o.Size > maxNames {
		return "", fmt.Errorf("a text of %d bytes is too long", o.Size)
	}
	blob, err := t.b.store.Open(space, o.Digest)
	if err != nil {
		return "", err
	}
	defer blob.Close()
	text, err := io.ReadAll(blob)
	return string(text), err
}

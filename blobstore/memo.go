package blobstore

import (
	"encoding/binary"
	"slices"

	"gaggle/wire"
)

// AddClaim keeps a claim: the latest of each signer, at most wire.MaxClaims for a thunk, of
// which further signers are ignored. A claim that does not verify is an error. Claims are on disk
// about a second later; one that is lost costs running a thunk again.
func (s *Store) AddClaim(c *wire.Claim) error {
	if err := c.Verify(); err != nil {
		return err
	}
	k := memoKey(c.Space, c.Thunk)
	s.claiming.Lock()
	defer s.claiming.Unlock()
	if list, changed := mergeClaim(decodeClaims(s.meta.get(s.meta.memo, k), c.Space, c.Thunk), c); changed {
		s.meta.put(s.meta.memo, k, encodeClaims(list))
	}
	return nil
}

// DropClaim forgets the claim of that signer for a thunk, if there is one. It is on disk about a
// second later.
func (s *Store) DropClaim(space wire.Space, thunk wire.ThunkID, signer wire.PeerID) {
	k := memoKey(space, thunk)
	s.claiming.Lock()
	defer s.claiming.Unlock()
	if list, changed := withoutClaim(decodeClaims(s.meta.get(s.meta.memo, k), space, thunk), signer); changed {
		s.meta.put(s.meta.memo, k, encodeClaims(list))
	}
}

// Claims returns the claims for a thunk in the order in which their signers came, each verified
// now; a damaged one is left out. None is no error; the error is of an invalid space.
func (s *Store) Claims(space wire.Space, thunk wire.ThunkID) ([]wire.Claim, error) {
	if !space.Valid() {
		return nil, wire.Errorf(wire.CauseInvalid, "", "%q cannot name a space", string(space))
	}
	return decodeClaims(s.meta.get(s.meta.memo, memoKey(space, thunk)), space, thunk), nil
}

// memoKey is the space, a NUL and the thunk's digest.
func memoKey(space wire.Space, thunk wire.ThunkID) string {
	return string(space) + "\x00" + string(thunk[:])
}

// mergeClaim adds c to the list, in the place of an earlier claim by its signer, and reports
// whether that changes anything.
func mergeClaim(list []wire.Claim, c *wire.Claim) ([]wire.Claim, bool) {
	for i := range list {
		if list[i].Signer == c.Signer {
			same := string(list[i].Encode()) == string(c.Encode())
			list[i] = *c
			return list, !same
		}
	}
	if len(list) >= wire.MaxClaims {
		return list, false
	}
	return append(list, *c), true
}

// withoutClaim takes the signer's claim out of the list, and reports whether there was one.
func withoutClaim(list []wire.Claim, signer wire.PeerID) ([]wire.Claim, bool) {
	n := len(list)
	list = slices.DeleteFunc(list, func(c wire.Claim) bool { return c.Signer == signer })
	return list, len(list) < n
}

// encodeClaims writes claims one after the other, each as a uvarint length and its encoding. None are
// an empty claim, which is none: what is empty itself would be a miss, and an older list on disk be
// read in its stead.
func encodeClaims(list []wire.Claim) []byte {
	if len(list) == 0 {
		return []byte{0}
	}
	var b []byte
	for i := range list {
		e := list[i].Encode()
		b = append(binary.AppendUvarint(b, uint64(len(e))), e...)
	}
	return b
}

// decodeClaims reads what encodeClaims writes, leaving out what is damaged, forged or about
// another thunk.
func decodeClaims(b []byte, space wire.Space, thunk wire.ThunkID) (list []wire.Claim) {
	for len(b) > 0 && len(list) < wire.MaxClaims {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return list
		}
		c, err := wire.DecodeClaim(b[w : w+int(n)])
		if err == nil && c.Space == space && c.Thunk == thunk {
			list = append(list, *c)
		}
		b = b[w+int(n):]
	}
	return list
}

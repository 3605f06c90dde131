// Package wire is the vocabulary of gaggle: ids, objects, trees, thunks, values, claims,
// receipts, certificates, revocations, grants, tickets, messages, frames, errors and limits. It does
// no I/O beyond framing a stream, and imports nothing of gaggle.
//
// Two kinds of encoding stand side by side.
//
// Hashed and signed values are canonical DAG-CBOR: arrays with a leading version, no floats, no
// maps, links as tag 42. There is one encoding of a value; decoding refuses any other, so that a
// digest names one value and one value has one digest. The form of each stands in the comment of
// its type, and golden_test.go pins the bytes.
//
//	Tree         [1, [[name, [kind, link, size], target], ...]]
//	Thunk        [1, command, env, root, inputs, outputs, stdin, platform, abi]
//	Value        [1, [[kind, link, size], ...]]
//	Claim        [1, space, thunk, value, signer, signature]
//	ReceiptBatch [1, signer, [receipt, ...], signature]
//	Certificate  [1, mesh, peer, roles, owner, tenants, not before, expires, signature]
//	Grant        [1, space, peer, expires, signer, signature]
//	Revocation   [1, mesh, peer, at, until, tickets, signature]
//	Ticket       [1, mesh, coordinator, addrs, roles, owner, tenants, issued, expires, serial, signature]
//	             [2, ..., serial, uses, signature]
//
// Messages are text-keyed CBOR maps whose unknown keys are ignored, sent in frames: a uvarint
// length, then the bytes. Versions N and N-1 understand each other's messages.
//
// Every bound on what a stranger may send stands in limits.go.
package wire

// Package blobstore keeps blobs, trees and the memo on one disk.
//
// A Store promises never to serve a wrong byte and never to lose what Sync said is durable.
// Objects are keyed by (space, digest): equal bytes of two spaces are one file underneath, but a
// space sees only what was put or fetched under its own name. A tree's encoding is stored as the
// object with the tree's digest. Memory is the same without a disk.
//
// On disk:
//
//	lock                 held (flock) by the process that has the store open; its pid
//	running              there while the store is open: an unclean stop leaves it behind
//	journal              what the files themselves do not say, see journal.go
//	meta.db              bbolt: memo and file identity index; both may be lost
//	tmp/                 what is being written; swept at Open
//	part/                blobs of which some pieces have come, see parts.go
//	s-SPACE/ab/ab12...   an object of the space, mode 0444, modification time 0
//	s-SPACE/ab/ab12...x  the same bytes with mode 0555
//	resident/s-SPACE/ab12...   a tree laid out as a read-only directory of hard links
//
// SPACE is the space's name with every byte but a-z, 0-9, '_' and '-' written %XX. The names of
// one object in several spaces are hard links, so that a space's membership is a file's
// existence. Mode and times belong to an inode, hence the two forms, each made when first
// wanted. Directories can be entered by every uid but listed only by ours: thunks run under
// other uids and reach files only by names they are told.
//
// Writing is: temporary file, hash while writing, rename. Nothing is flushed then; Sync flushes
// through a small pool (0.2-0.4 ms a file; syncfs was 82-685 ms on a shared disk), and a
// checkpoint every half minute flushes what is older than that. After an unclean stop the files
// on disk are the truth and every form not journalled as flushed is hashed again. Where a read
// meets wrong bytes the object is dropped: corrupt is a miss.
package blobstore

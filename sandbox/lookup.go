package sandbox

// Lookups are what a command looked for in vain, and what helps to tell why.
type Lookups struct {
	// Missing are files that were not there, each once, in the order in which they were first
	// looked for.
	Missing []Missing `cbor:"missing"`
	// Earlier is how many more there were before those.
	Earlier int `cbor:"earlier,omitempty"`
	// Listed are directories that it read, each once, in order; at most maxListed. Whoever reads a
	// directory looks for nothing that is not in it.
	Listed []string `cbor:"listed,omitempty"`
	// Unread is how many calls named a file that could not be read from the command's memory.
	Unread int `cbor:"unread,omitempty"`
}

// A Missing is a file that a command looked for in vain.
type Missing struct {
	Path string `cbor:"path"` // absolute, as the command sees it
	// Use is what it was for: "look" (stat, access, readlink), "open", or "execute".
	Use string `cbor:"use"`
	// Elsewhere says that a file of that name was then found in another place, as along a path
	// of directories.
	Elsewhere bool `cbor:"elsewhere,omitempty"`
}

const (
	// maxMissing and maxMissingBytes bound what is kept of one command: the last say most of why
	// it failed. Python looks for about 40 before it begins.
	maxMissing      = 1_000
	maxMissingBytes = 256 << 10
	maxListed       = 100
	// maxLookups bounds the names that are remembered in order to tell each once.
	maxLookups = 100_000
)

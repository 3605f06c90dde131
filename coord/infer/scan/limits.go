package scan

import "time"

// What one unit may take. Beyond a bound the unit is refused and the compiler is asked instead.
const (
	// maxDepth is how deep files may include each other: the default of gcc's and clang's
	// -fmax-include-depth.
	maxDepth = 200

	// maxEntered is how often a unit may enter a file. Boost.Preprocessor iterates by including
	// one file again and again; a unit of it was seen to enter 4,000.
	maxEntered = 1 << 18

	// maxSteps counts directives, and tokens made or compared by macro expansion. The largest of
	// 1,049 real units took 2 million.
	maxSteps = 20_000_000

	maxNested    = 1000    // expansions of arguments within arguments, and parentheses in a condition
	maxTokens    = 1 << 20 // that one expansion leaves
	maxFileBytes = 64 << 20
	maxNameBytes = 4096    // of a header's name
	maxAbsent    = 1 << 18 // names looked for in vain
)

// What the tables of a Scanner may take together; they are begun anew beyond that.
const (
	maxCachedBytes = 512 << 20 // of sources whose directives are kept; those take about a third
	maxListed      = 1 << 17   // names of one directory; in larger ones each name is asked for alone
	maxListings    = 1 << 16
	maxMemo        = 1 << 20 // lookups remembered
	maxProbes      = 1 << 12 // sets of flags
	maxAnswers     = 1 << 12 // of one set of flags
)

// settleTime is how old a change must be for a later one to show in the time stamps: file systems
// keep these in ticks of up to 2 s (FAT). What changed more recently is read again.
const settleTime = 2 * time.Second

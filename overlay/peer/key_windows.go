package peer

import "os"

// checkPrivate trusts the access list that the file inherits from the user's profile: mode bits
// say nothing on Windows.
func checkPrivate(*os.File) error { return nil }
